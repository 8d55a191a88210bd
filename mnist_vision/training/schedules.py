"""Learning-rate schedules: a multiple of each parameter group's learning rate at each step.

The ratio between groups, such as a backbone's and a head's, stays as it is. A multiple depends on
the step and the number of steps alone, so that a run can go on with more epochs. torch's
`SequentialLR` of `LinearLR` and `CosineAnnealingLR` updates the rate from its last value, and so
cannot change the number of steps.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_vision.common.checks import Share, checked


def constant(optimizer: Optimizer, num_steps: int) -> LambdaLR:
    """Keep the learning rate; `num_steps` is not needed."""
    return LambdaLR(optimizer, lambda step: 1.0)


@checked
def cosine(optimizer: Optimizer, num_steps: int, final: Share = 0.0) -> LambdaLR:
    """Follow half a cosine from the full learning rate down to a share of it.

    Args:
        optimizer: Its groups' learning rates are the full ones.
        num_steps: Steps of the whole training.
        final: Share of the learning rate at the end, 0 to 1.

    Raises:
        FieldError: If `final` is outside its range.

    Source: I. Loshchilov and F. Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983.
    """
    return warmup_cosine(optimizer, num_steps, warmup=0.0, final=final)


@checked
def warmup_cosine(
    optimizer: Optimizer, num_steps: int, warmup: Share = 0.2, final: Share = 0.0
) -> LambdaLR:
    """Warm up linearly from nothing to the full learning rate, then follow half a cosine down.

    Args:
        optimizer: Its groups' learning rates are the full ones.
        num_steps: Steps of the whole training.
        warmup: Share of the steps that the warm-up takes, 0 to 1.
        final: Share of the learning rate at the end, 0 to 1.

    Raises:
        FieldError: If `warmup` or `final` is outside its range.

    Source: L. Smith and N. Topin, "Super-convergence", 2018, https://arxiv.org/abs/1708.07120.
    """
    rise = warmup * num_steps

    def multiple(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        progress = min((step - rise) / max(num_steps - rise, 1), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, multiple)
