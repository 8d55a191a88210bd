"""The same brightness and contrast for all images."""

from torch import Tensor

from mnist_vision.data.constants import PIXEL_MEAN, PIXEL_STD

# Keeps an image of one colour finite: it counts as having this standard deviation at least.
SMALLEST_STD = 0.01


def standardize(images: Tensor) -> Tensor:
    """Give each image the mean and the standard deviation of MNIST's pixels.

    A network that takes such images does not notice how bright a picture is and how much contrast
    it has.

    Args:
        images: `Tensor[B, 1, H, W]` float in [0, 1].
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    variance = (images - mean).square().mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (PIXEL_STD / (variance + SMALLEST_STD**2).sqrt()) + PIXEL_MEAN
