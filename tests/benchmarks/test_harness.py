import pytest
import torch
from omegaconf import OmegaConf

from mnist_vision.benchmarks.harness import choose_device, medians


@pytest.mark.skipif(torch.accelerator.is_available(), reason="auto is the GPU here")
@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_the_accelerator_names_the_device(accelerator):
    config = OmegaConf.create({"accelerator": accelerator})
    assert choose_device(config) == torch.device("cpu")


def test_measures_alternate_and_the_median_of_each_is_kept():
    order = []

    def measure(name, values):
        def once():
            order.append(name)
            return values.pop()

        return once

    assert medians([measure("a", [9, 1, 2]), measure("b", [5, 5, 6])], 3) == [2, 5]
    assert order == ["a", "b"] * 3
