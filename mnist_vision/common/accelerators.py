"""The accelerators of this machine."""

import os

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from mnist_vision.common.errors import FieldError


def check_accelerator(field: str, accelerator: object) -> None:
    """Check that torch can use an accelerator here.

    Args:
        field: Name of the setting, for the error.
        accelerator: Its value, an accelerator of Lightning's Trainer or "auto".

    Raises:
        FieldError: Listing the accelerators of this machine.
    """
    has_cuda, has_mps = CUDAAccelerator.is_available(), MPSAccelerator.is_available()
    present = {"auto": True, "cpu": True, "gpu": has_cuda or has_mps}
    present |= {"cuda": has_cuda, "mps": has_mps}
    usable = [name for name, is_present in present.items() if is_present]
    if accelerator not in usable:
        raise FieldError(
            field, accelerator, f"must be one that torch can use here: {', '.join(usable)}"
        )


def is_cpu(accelerator: object) -> bool:
    """Test whether a setting `trainer.accelerator` is the CPU here."""
    has_gpu = CUDAAccelerator.is_available() or MPSAccelerator.is_available()
    return accelerator == "cpu" or (accelerator == "auto" and not has_gpu)


def has_bfloat16(accelerator: object) -> bool:
    """Test whether the device of a setting `trainer.accelerator` computes in bfloat16 itself.

    On other processors, matrix products were a hundred times slower than in float32.
    """
    if is_cpu(accelerator):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return CUDAAccelerator.is_available() and torch.cuda.is_bf16_supported(
        including_emulation=False
    )


def choose_precision(precision: str, accelerator: object) -> str:
    """Choose the arithmetic of training.

    Args:
        precision: The setting `trainer.precision`; "auto" is bf16-mixed where the device computes
            in bfloat16, and 32-true elsewhere.
        accelerator: The setting `trainer.accelerator`.
    """
    if precision == "auto":
        return "bf16-mixed" if has_bfloat16(accelerator) else "32-true"
    return precision


def check_devices(devices: object, accelerator: object) -> None:
    """Check that there is a core for each process of a training on the CPU.

    Lightning would start any number of processes.

    Args:
        devices: The setting `trainer.devices`.
        accelerator: The setting `trainer.accelerator`.

    Raises:
        FieldError: If there are fewer cores, or it is no number.
    """
    num_cores = os.cpu_count() or 1
    number = str(devices)
    is_possible = number.isdigit() and 1 <= int(number) <= num_cores
    if is_cpu(accelerator) and devices != "auto" and not is_possible:
        raise FieldError(
            "trainer.devices", devices, f"must be from 1 to {num_cores}, the cores of this machine"
        )
