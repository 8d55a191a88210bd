"""Calibrated probabilities: temperature scaling.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017,
https://arxiv.org/abs/1706.04599.
"""

from torch import Tensor


def apply_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """Flatten (temperature above 1) or sharpen (below 1) probabilities `[N, 10]`.

    For the softmax of logits it equals dividing the logits by the temperature.
    """
    if temperature == 1:
        return probabilities
    powers = (probabilities.log() / temperature).softmax(dim=1)
    return powers
