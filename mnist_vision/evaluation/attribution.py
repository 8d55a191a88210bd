"""Attributions: which pixels a prediction rests on.

- Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
  Gradient-based Localization", 2017, https://arxiv.org/abs/1610.02391.
- Integrated gradients: M. Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017,
  https://arxiv.org/abs/1703.01365.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnist_vision.common.errors import UserError
from mnist_vision.data.constants import MISSED
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import TestResult, float32_arithmetic
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.mistake_attributions import MistakeAttributions

NUM_MISTAKES = 12
NUM_STEPS = 32  # from black to the image
_BATCH_SIZE = 128  # images that pass through the network at once
_NUM_IMAGES = 32  # that are explained at once


class Attribution(NamedTuple):
    """Two maps for each image.

    Args:
        grad_cam: `Tensor[B, H, W]` float32 in [0, 1]: where the last maps of the network speak for
            the digit, scaled so that the highest value of an image is 1.
        integrated_gradients: `Tensor[B, H, W]` float32: what each pixel adds to the score of the
            digit. Their sum is the score's difference to that of a black image.
    """

    grad_cam: Tensor
    integrated_gradients: Tensor


def attribute(model: DigitClassifier, images: Tensor, digits: Tensor) -> Attribution:
    """Explain predictions; the network stays as it is.

    Args:
        model: A network with convolutions.
        images: `Tensor[B, 1, H, W]` float32 in [0, 1], on the device of the network.
        digits: `Tensor[B]` int64: the predictions. Where they are `MISSED`, the maps are 0.

    Raises:
        UserError: If the network has no convolution.
    """
    gradients = _explain(model, images, digits, _integrated_gradients)
    return Attribution(grad_cam(model, images, digits), gradients)


def grad_cam(model: DigitClassifier, images: Tensor, digits: Tensor) -> Tensor:
    """Compute the Grad-CAM of `attribute` alone, which takes a fraction of the time.

    Raises:
        UserError: If the network has no convolution.
    """
    return _explain(model, images, digits, _grad_cam)


def _explain(
    model: DigitClassifier,
    images: Tensor,
    digits: Tensor,
    method: Callable[[DigitClassifier, Tensor, dict[str, Any]], Tensor],
) -> Tensor:
    """Explain some images at a time with `method`, which gives maps `Tensor[B, H, W]`."""
    if model.attribution_layer is None:
        raise UserError(f"{model.architecture}: has no convolution, so there is no Grad-CAM")
    maps = []
    with float32_arithmetic(), _only_pixels_are_trained(model):
        parts = zip(images.split(_NUM_IMAGES), digits.split(_NUM_IMAGES), strict=True)
        for some, predicted in parts:
            # A copy, as gradients cannot pass through a tensor of inference mode.
            pixels = some.clone().requires_grad_()
            arguments = {
                "target": predicted.clamp(min=0),
                "additional_forward_args": model.regions(pixels),
            }
            maps.append(method(model, pixels, arguments))
    return torch.cat(maps) * (digits != MISSED)[:, None, None]


def _grad_cam(model: DigitClassifier, images: Tensor, arguments: dict[str, Any]) -> Tensor:
    # captum takes time to import, and most commands explain nothing.
    from captum.attr import LayerAttribution, LayerGradCam

    coarse = LayerGradCam(model.evidence, model.attribution_layer).attribute(
        images, relu_attributions=True, **arguments
    )
    size = (images.shape[2], images.shape[3])
    fine: Tensor = LayerAttribution.interpolate(coarse.detach(), size, "bilinear")[:, 0]
    return (fine / fine.amax(dim=(1, 2), keepdim=True)).nan_to_num(0)


def _integrated_gradients(
    model: DigitClassifier, images: Tensor, arguments: dict[str, Any]
) -> Tensor:
    from captum.attr import IntegratedGradients

    gradients: Tensor = IntegratedGradients(model.evidence).attribute(
        images, baselines=0.0, n_steps=NUM_STEPS, internal_batch_size=_BATCH_SIZE, **arguments
    )
    return gradients.detach()[:, 0].float()


@contextmanager
def _only_pixels_are_trained(model: DigitClassifier) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients of its weights, and back."""
    modes = [(module, module.training) for module in model.modules()]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, is_training in modes:
            module.training = is_training


def attribute_mistakes(
    model: DigitClassifier, datamodule: MNISTDataModule, outcome: TestResult
) -> MistakeAttributions | None:
    """Explain the `NUM_MISTAKES` mistakes with the highest probability of the wrong digit.

    Missed digits have no attribution, and are left out.

    Returns:
        None if there are no such mistakes, if the network has no convolution, or for scenes, whose
        digits are not classified one by one.
    """
    if datamodule.gives_scenes or model.attribution_layer is None:
        return None
    mistakes = outcome.mistakes
    predictions = outcome.predictions[mistakes]
    confidence = model.probabilities(outcome.scores[mistakes]).amax(dim=1)
    confidence = confidence.masked_fill(predictions == MISSED, -1)
    num_found = int((predictions != MISSED).sum())
    if not num_found:
        return None
    # Stable, so that equal ones come in the order of the test set.
    order = confidence.argsort(descending=True, stable=True)[: min(NUM_MISTAKES, num_found)]
    pictures, digits = outcome.mistake_pictures[order], predictions[order]
    maps = attribute(model, pictures.to(model.device), digits.to(model.device))
    return MistakeAttributions(
        indices=mistakes[order].numpy(),
        predictions=digits.numpy(),
        targets=outcome.targets[mistakes[order]].numpy(),
        pictures=(pictures[:, 0] * 255).round().byte().numpy(),
        grad_cam=maps.grad_cam.cpu().numpy(),
        integrated_gradients=maps.integrated_gradients.cpu().numpy(),
    )
