"""Which accelerators this machine has."""

from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from mnist_vision.common.errors import FieldError


def check_accelerator(field: str, accelerator: object) -> None:
    """Raises unless `accelerator` is "auto" or one that torch can use here.

    Args:
        field: Name of the setting, for the error.
        accelerator: Its value, as Lightning's Trainer takes it.

    Raises:
        FieldError: Listing the accelerators there are.
    """
    has_cuda, has_mps = CUDAAccelerator.is_available(), MPSAccelerator.is_available()
    present = {"auto": True, "cpu": True, "gpu": has_cuda or has_mps}
    present |= {"cuda": has_cuda, "mps": has_mps}
    usable = [name for name, is_present in present.items() if is_present]
    if accelerator not in usable:
        raise FieldError(field, accelerator, f"one that torch can use here: {', '.join(usable)}")
