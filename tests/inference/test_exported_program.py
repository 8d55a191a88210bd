import io

import numpy as np
import pytest
import torch
from torch import nn

from mnist_vision.common.quiet import discard_output
from mnist_vision.inference.checkpoint_network import TorchNetwork
from mnist_vision.inference.exported_program import capture, to_onnx, to_pt2
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.models.detection.box_ops import greedy_nms
from tests.models.detection.test_box_ops import random_boxes
from tests.models.test_classifier import MODELS

# An untrained detector has many scores that are almost equal.
SIZES = [(1, 28, 28), (7, 28, 28), (3, 64, 96), (2, 37, 53), (1, 8, 8)]


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_exported(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    program = capture(model, torch.zeros(2, 1, 28, 28), any_size=False)
    content = to_onnx(program, ModelMetadata(name, is_for_scenes=False).to_texts())
    network = OnnxNetwork("some.onnx", content)
    assert network.architecture == name
    for num_images in (1, 7):
        images = torch.rand(num_images, 1, 28, 28)
        with torch.no_grad():
            wanted = model.probabilities(model(images)).numpy()
        np.testing.assert_allclose(network(images.numpy()).probabilities, wanted, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_detector_for_scenes_takes_images_of_any_size(detector, detector_content, size):
    network = OnnxNetwork("some.onnx", detector_content)
    reference = TorchNetwork(detector.outputs, "faster_rcnn", is_for_scenes=True)
    torch.manual_seed(1)
    images = torch.rand(size[0], 1, *size[1:]).numpy()
    found, wanted = network(images), reference(images)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-5)
    assert len(found.detections) == size[0]
    for ours, theirs in zip(found.detections, wanted.detections, strict=True):
        assert len(ours.boxes) > 0
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_a_pt2_file_gives_the_same_and_holds_its_metadata(detector, detector_program):
    with discard_output():
        content = to_pt2(detector_program, {"architecture": "faster_rcnn"})
    held = {"metadata.json": ""}
    program = torch.export.load(io.BytesIO(content), extra_files=held).module()
    assert held == {"metadata.json": '{"architecture": "faster_rcnn"}'}
    images = torch.rand(3, 1, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(program(images), detector.outputs(images))


class Suppression(nn.Module):
    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, boxes, is_valid):
        return greedy_nms(boxes, is_valid, self.threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_suppression_in_a_program_is_that_of_eager_mode(threshold):
    torch.manual_seed(0)
    boxes, is_valid = random_boxes(50, 30), torch.rand(50, 30) < 0.9
    program = torch.export.export(Suppression(threshold), (boxes, is_valid)).module()
    assert torch.equal(program(boxes, is_valid), greedy_nms(boxes, is_valid, threshold))


def test_suppression_in_a_program_goes_on_to_the_end_of_a_long_chain():
    starts = torch.arange(64) * 2.0
    boxes = torch.stack([starts, torch.zeros(64), starts + 10, torch.full((64,), 10.0)], dim=1)
    is_valid = torch.ones(64, dtype=torch.bool)
    program = torch.export.export(Suppression(0.5), (boxes, is_valid)).module()
    assert program(boxes, is_valid).nonzero().flatten().tolist() == list(range(0, 64, 2))
