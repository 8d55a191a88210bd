"""A network under a suite of corruptions, against the test on images that are corrupted already."""

import re

import numpy as np
import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.data import datamodule as data
from mnist_vision.data.constants import MISSED
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.data.scenes.mnist_scenes import MNISTScenesDataModule
from mnist_vision.evaluation.corruptions.corruption import Corruption
from mnist_vision.evaluation.corruptions.suite import SUITES, VERSION, corrupt
from mnist_vision.evaluation.measure import run_test
from mnist_vision.evaluation.robustness import check_suite, measure_robustness
from mnist_vision.inference.onnx_classifier import OnnxClassifier
from mnist_vision.models.cnn import CNN
from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.runs.calibration_record import TemperatureScaling
from tests.conftest import synthetic_digits

SUITE = (
    Corruption("noisy", lambda x, g: g.integers(0, 256, x.shape, np.uint8) | x, "here"),
    Corruption("moved", lambda x, g: np.roll(x, 2, axis=1), "here"),
    Corruption("black", lambda x, g: x * 0, "here", is_in_mean=False),
)


@pytest.fixture
def datamodule(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(SUITES, "corruptions", SUITE)
    return MNISTDataModule(str(tmp_path), eval_batch_size=77, augmentation=None)


def measure(model, datamodule):
    return measure_robustness(
        model, datamodule, "corruptions", ckpt_path="a.ckpt", clean_accuracy=0.9, accelerator="cpu"
    )


class MissesDarkImages(CNN):
    def forward(self, images):
        return super().forward(images).masked_fill(images.mean(dim=(2, 3)) < 0.2, -torch.inf)


class FakeNetwork:
    architecture = "cnn"
    scaling = TemperatureScaling(temperature=1.0, threshold=None)

    def run(self, images):
        return {"scores": images.mean(axis=3)[:, 0, 6:26:2].astype(np.float32)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNN(widths=[2, 3]),
        MissesDarkImages,
        lambda: FasterRCNN(widths=[4, 4, 4]),
        lambda: OnnxClassifier(FakeNetwork()),
    ],
    ids=["cnn", "missing", "faster_rcnn", "onnx"],
)
def test_the_figures_are_those_of_a_test_on_corrupted_images(datamodule, monkeypatch, make):
    torch.manual_seed(0)
    model = make().eval()
    record = measure(model, datamodule).record
    images, targets = synthetic_digits(200, seed=len("test"))
    for corruption in SUITE:
        corrupted = torch.from_numpy(corrupt(corruption, images.squeeze(1).numpy())).unsqueeze(1)
        with monkeypatch.context() as patch:
            patch.setattr(data, "load_split", lambda root, split, c=corrupted: (c, targets))
            expected = run_test(model, datamodule, accelerator="cpu")
        found = record.corruptions[corruption.name]
        assert found.accuracy == pytest.approx(1 - len(expected.mistakes) / 200, abs=1e-6)
        num_missed = int((expected.predictions == MISSED).sum())
        assert (found.missed, found.num_images) == (num_missed, 200)
    if isinstance(model, MissesDarkImages):
        assert record.corruptions["black"].missed == 200
        assert record.corruptions["black"].accuracy == 0


def test_the_record_names_the_suite_and_its_mean(datamodule, caplog):
    caplog.set_level("INFO")
    result = measure(CNN(widths=[2]).eval(), datamodule)
    record = result.record
    assert (record.suite, record.suite_version) == ("corruptions", VERSION)
    assert list(record.corruptions) == ["noisy", "moved", "black"]
    assert record.mean_over == ["noisy", "moved"]
    accuracies = [record.corruptions[name].accuracy for name in record.mean_over]
    assert record.mean_accuracy == pytest.approx(np.mean(accuracies))
    assert record.metrics().keys() == {
        f"robustness/{name}" for name in ("clean", "mean", "noisy", "moved", "black")
    }
    assert result.examples["moved"].shape == (10, 28, 28)
    rows = [line.split()[0] for line in caplog.messages]
    assert rows == ["corruption", "none", "noisy", "moved", "black", "mean"]
    assert re.match(r"mean of 2 +0\.\d{4} +\d", caplog.messages[-1])
    assert caplog.messages[-2].endswith("not in the mean")


def test_a_measurement_can_be_repeated(datamodule):
    torch.manual_seed(0)
    model = CNN(widths=[2, 3]).eval()
    first, second = (measure(model, datamodule).record.metrics() for _ in range(2))
    assert first == second


def test_scenes_are_refused(tmp_path):
    scenes = MNISTScenesDataModule(str(tmp_path), augmentation=None)
    check_suite(None, scenes)
    with pytest.raises(UserError, match="suite=corruptions: corrupts single digits"):
        check_suite("corruptions", scenes)
