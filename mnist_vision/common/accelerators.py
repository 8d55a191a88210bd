"""The accelerators of this machine."""

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
