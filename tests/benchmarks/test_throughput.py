import pytest
import torch
from hydra import initialize_config_dir
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_vision.benchmarks import throughput
from mnist_vision.common.conf import CONF_DIR


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_architecture_is_measured_against_the_peak(config, digits, monkeypatch, precision):
    monkeypatch.setattr(throughput, "MATRIX_SIZES", {"cpu": (64,)})
    monkeypatch.setattr(throughput, "CONV_SHAPES", {"cpu": ((2, 8, 8, 8),)})
    config.architectures = ["cnn"]
    config.precision = precision
    config.data.batch_size, config.data.val_size = 8, 100
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        rows = throughput.measure_architectures(config)
    assert [row.what for row in rows] == ["cnn, training", "cnn, inference"]
    assert all(row.ours > 0 and row.ratio > 0 for row in rows)


def test_a_small_share_of_the_peak_keeps_a_digit():
    assert [throughput._percent(share) for share in (0.004, 0.28, 1.0)] == ["0.4%", "28%", "100%"]


def count_training(layer, images):
    return throughput.count_operations(lambda: layer(images.requires_grad_()).sum().backward())


def test_products_with_padding_are_not_counted():
    num_reads = 16  # by the 4 pixels of the result, which all read the same 4
    num_passes = 3  # the result, the gradient of the weight, that of the images
    counted = count_training(nn.Conv2d(4, 5, 3, padding=1), torch.rand(3, 4, 2, 2))
    assert counted == 2 * 3 * num_reads * 4 * 5 * num_passes


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}])
def test_without_padding_all_that_torch_counts_is_counted(settings):
    layers = nn.Sequential(nn.Conv2d(4, 6, 3, **settings), nn.Flatten(), nn.LazyLinear(7))
    images = torch.rand(3, 4, 9, 8)
    layers(images)
    with FlopCounterMode(display=False) as counter:
        layers(images).sum()
    assert throughput.count_operations(lambda: layers(images).sum()) == counter.get_total_flops()


def test_the_gradient_of_images_is_counted_only_where_it_is_computed():
    conv, images = nn.Conv2d(4, 5, 3), torch.rand(3, 4, 5, 5)
    forward = throughput.count_operations(lambda: conv(images))
    assert throughput.count_operations(lambda: conv(images).sum().backward()) == 2 * forward


def test_the_peak_is_the_best_of_all_products(monkeypatch):
    monkeypatch.setattr(throughput, "MATRIX_SIZES", {"cpu": (4, 8)})
    monkeypatch.setattr(throughput, "CONV_SHAPES", {"cpu": ((2, 3, 5, 5), (1, 1, 4, 4))})
    monkeypatch.setattr(throughput, "seconds", lambda step: 1.0)
    peak = throughput._measure_peak(torch.device("cpu"), torch.float32, 1)
    assert peak == max(2 * 8**3, 2 * 2 * 9 * 9 * 3 * 3)
