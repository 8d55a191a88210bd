"""AlexNet: five convolutions and three fully connected layers."""

from typing import Any

from torchvision.models import AlexNet_Weights, alexnet

from mnist_vision.models.pretrained.fine_tuning import PretrainedClassifier


class AlexNet(PretrainedClassifier):
    """torchvision's AlexNet, fine-tuned; `PretrainedClassifier` explains the arguments.

    A block is a convolution and its pooling, where it has one. `image_size` is at least 63.

    Source: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
    https://arxiv.org/abs/1404.5997.
    """

    known_weights = AlexNet_Weights
    block_ends = (3, 6, 8, 10, 13)
    min_image_size = 63

    @staticmethod
    def make_network(dropout: float) -> Any:
        """Make torchvision's network."""
        return alexnet(dropout=dropout)
