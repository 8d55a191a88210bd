"""Exported networks, and the checkpoints that they come from."""

import pytest
import torch

from mnist_vision.inference.exported_program import capture, to_onnx
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.models.cnn import CNN
from mnist_vision.models.faster_rcnn import FasterRCNN
from tests.training.conftest import trained  # noqa: F401


@pytest.fixture(scope="session")
def cnn():
    torch.manual_seed(0)
    return CNN(widths=[2, 3], hidden=4).eval()


@pytest.fixture(scope="session")
def detector():
    torch.manual_seed(0)
    return FasterRCNN(widths=[4, 8], hidden=16, box_score_thresh=0.0).eval()


@pytest.fixture(scope="session")
def detector_program(detector):
    """Of a detector that takes images of any size."""
    return capture(detector, torch.zeros(2, 1, 28, 28), any_size=True)


@pytest.fixture(scope="session")
def onnx_content(cnn):
    """The content of an ONNX file of the small CNN."""
    program = capture(cnn, torch.zeros(2, 1, 28, 28), any_size=False)
    return to_onnx(program, ModelMetadata("cnn", is_for_scenes=False).to_texts())


@pytest.fixture(scope="session")
def detector_content(detector_program):
    return to_onnx(detector_program, ModelMetadata("faster_rcnn", is_for_scenes=True).to_texts())
