"""Train and compare vision architectures on MNIST, and use what was trained.

Nothing is imported until it is used: a command line answers before torch is loaded.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_vision.inference.predictor import load_predictor

__version__ = "0.1.0"
__all__ = ["load_predictor"]


def __getattr__(name: str) -> Any:
    """Import what the package offers to programs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnist_vision.inference import predictor

    return getattr(predictor, name)
