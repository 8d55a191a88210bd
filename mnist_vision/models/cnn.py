"""A plain convolutional network: convolutions, pooling, fully connected layers."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mnist_vision.common.checks import Count, Dropout, NonNegativeInt, checked
from mnist_vision.data.constants import IMAGE_SIZE, NUM_CLASSES, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.models.max_pool import MaxPool2x2
from mnist_vision.models.standardization import standardize


class CNN(DigitClassifier):
    """Stages of 3x3 convolutions (padding 1, stride 1), each ending in a 2x2 max pooling.

    Each convolution is followed by batch normalisation, if it is on, and ReLU. The head is a hidden
    layer, if its size is not 0, and the layer of the ten logits, each after dropout.

    Args:
        widths: Channels of each stage, 1 to 4 stages of at least 1 channel.
        convs_per_stage: Convolutions in each stage, at least 1.
        hidden: Units of the hidden layer; 0 for none.
        dropout: Probability of dropping a unit before each fully connected layer, 0 to 0.95.
        batch_norm: Whether convolutions are followed by batch normalisation.
        standardize_images: Whether each image first gets the mean and the standard deviation of
            MNIST's pixels, so that brightness and contrast do not matter.

    Raises:
        FieldError: If an argument is outside its range.
    """

    @checked
    def __init__(
        self,
        widths: Annotated[Sequence[Count], Field(min_length=1, max_length=4)] = (16, 32, 64),
        convs_per_stage: Count = 1,
        hidden: NonNegativeInt = 128,
        dropout: Dropout = 0.25,
        batch_norm: bool = True,
        standardize_images: bool = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)

        stages = []
        channels = 1
        for width in widths:
            stages.append(_stage(channels, width, convs_per_stage, batch_norm))
            channels = width
        self.stages = nn.Sequential(*stages)
        side = IMAGE_SIZE // 2 ** len(widths)
        self.head = _head(channels * side**2, hidden, dropout)
        # Pixels stored next to their channels: the layout that convolutions on a CPU are fast in.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            images: `Tensor[B, 1, 28, 28]` float32 in [0, 1].

        Returns:
            Logits `Tensor[B, 10]`.
        """
        if self.hparams["standardize_images"]:
            images = standardize(images)
        features = self.stages((images - PIXEL_MEAN) / PIXEL_STD)
        logits: Tensor = self.head(features)
        return logits


def _stage(in_channels: int, width: int, num_convs: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(num_convs):
        layers.append(nn.Conv2d(in_channels, width, 3, padding=1, bias=not batch_norm))
        # Pooling first leaves normalisation and ReLU a quarter of the pixels. ReLU is monotonic, so
        # max pooling gives the same before it. Source of the idea:
        # https://github.com/KellerJordan/cifar10-airbench.
        if index == num_convs - 1:
            layers.append(MaxPool2x2())
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        in_channels = width
    return nn.Sequential(*layers)


def _head(num_features: int, hidden: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    if hidden:
        layers += [nn.Dropout(dropout), nn.Linear(num_features, hidden), nn.ReLU(inplace=True)]
        num_features = hidden
    layers += [nn.Dropout(dropout), nn.Linear(num_features, NUM_CLASSES)]
    return nn.Sequential(*layers)
