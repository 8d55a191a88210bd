"""An ONNX file as a classifier that can be tested as a checkpoint is."""

import torch
from torch import Tensor

from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.models.classifier import DigitClassifier


class OnnxClassifier(DigitClassifier):
    """The network of an ONNX file, which reads one digit an image and is not trained.

    Args:
        network: The network.
    """

    def __init__(self, network: OnnxNetwork) -> None:
        super().__init__()
        self._network = network
        self.temperature = network.scaling.temperature
        self.threshold = network.scaling.threshold

    @property
    def architecture(self) -> str:
        """Name of the architecture, from the file."""
        return self._network.architecture

    def forward(self, images: Tensor) -> Tensor:
        """Compute the scores `[B, 10]` of images on the CPU."""
        return torch.from_numpy(self._network.run(images.numpy())["scores"])
