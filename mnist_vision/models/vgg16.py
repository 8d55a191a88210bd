"""VGG16: thirteen 3x3 convolutions in five blocks, and three fully connected layers."""

from typing import Any

from torchvision.models import VGG16_Weights, vgg16

from mnist_vision.models.pretrained.fine_tuning import PretrainedClassifier


class VGG16(PretrainedClassifier):
    """torchvision's VGG16, fine-tuned; `PretrainedClassifier` explains the arguments.

    A block ends with its pooling. `image_size` is at least 32.

    Source: K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image
    recognition", 2015, https://arxiv.org/abs/1409.1556.
    """

    known_weights = VGG16_Weights
    block_ends = (5, 10, 17, 24, 31)
    min_image_size = 32

    @staticmethod
    def make_network(dropout: float) -> Any:
        """Make torchvision's network."""
        return vgg16(dropout=dropout, init_weights=False)
