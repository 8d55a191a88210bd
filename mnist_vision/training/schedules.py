"""Learning-rate schedules: multiples of each parameter group's own learning rate, step by step.

Being multiples, they leave the ratio between groups (a backbone's and a head's, say) as it is.
Being functions of the step alone, they can be resumed into a longer training.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_vision.common.errors import check_real


def constant(optimizer: Optimizer, num_steps: int) -> LambdaLR:
    """The same learning rate throughout; `num_steps` is not needed."""
    return LambdaLR(optimizer, lambda step: 1.0)


def cosine(optimizer: Optimizer, num_steps: int, final: float = 0.0) -> LambdaLR:
    """Half a cosine from the full learning rate down to a share of it.

    Args:
        optimizer: Its groups' learning rates are the full ones.
        num_steps: Steps of the whole training.
        final: Share of the learning rate at the end, 0 to 1.

    Raises:
        FieldError: If `final` is outside its range.

    Source: I. Loshchilov and F. Hutter, "SGDR", 2017, https://arxiv.org/abs/1608.03983.
    """
    return one_cycle(optimizer, num_steps, warmup=0.0, final=final)


def one_cycle(
    optimizer: Optimizer, num_steps: int, warmup: float = 0.2, final: float = 0.0
) -> LambdaLR:
    """A linear rise from nothing to the full learning rate, then half a cosine down.

    Args:
        optimizer: Its groups' learning rates are the full ones.
        num_steps: Steps of the whole training.
        warmup: Share of the steps that the rise takes, 0 to 1.
        final: Share of the learning rate at the end, 0 to 1.

    Raises:
        FieldError: If `warmup` or `final` is outside its range.

    Source: L. Smith and N. Topin, "Super-convergence", 2018, https://arxiv.org/abs/1708.07120.
    """
    check_real("warmup", warmup, 0, 1)
    check_real("final", final, 0, 1)
    rise = warmup * num_steps

    def multiple(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        progress = min((step - rise) / max(num_steps - rise, 1), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return LambdaLR(optimizer, multiple)
