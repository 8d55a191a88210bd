"""Compile what training spends its time on."""

import logging

import torch

from mnist_vision.common.errors import UserError, first_line
from mnist_vision.models.classifier import DigitClassifier


def compile_losses(model: DigitClassifier, device: torch.device) -> None:
    """Have torch.compile compile the losses of a network, and so their gradients, when they run.

    The results are equal up to rounding. Random numbers are those of an uncompiled network.

    Args:
        model: The network; its weights, their names and its class stay the same.
        device: Where it trains.

    Raises:
        UserError: If torch.compile does not work here. A function of one line is compiled first.
    """
    # It warns where CUDA's compiler is installed and there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        torch.compile(lambda values: values.sin() + 1)(torch.ones(8, device=device))
    except Exception as error:  # of any kind, as compilers are programs of their own
        raise UserError(
            f"compile=true: torch.compile does not work here ({first_line(error)}); install a C++ "
            "compiler such as g++, or leave it out"
        ) from error
    compiled = torch.compile(model.losses, options={"fallback_random": True})
    model.losses = compiled  # type: ignore[method-assign]
