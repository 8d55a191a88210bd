"""Load a trained network from a checkpoint or an ONNX file."""

import os
from pathlib import Path

from mnist_vision.inference.network import Network


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Test by its name whether a file is an ONNX file."""
    return Path(path).suffix.lower() == ".onnx"


def load_network(path: str | os.PathLike[str]) -> Network:
    """Load the network of a checkpoint or of an ONNX file, which does not import torch.

    Args:
        path: A file that ends in .onnx, or a checkpoint; `~` is the home folder.

    Raises:
        UserError: If the file cannot be used.
    """
    if is_exported(path):
        from mnist_vision.inference.onnx_network import OnnxNetwork

        return OnnxNetwork(path)
    # torch takes seconds to import.
    from mnist_vision.inference.checkpoint_network import CheckpointNetwork

    return CheckpointNetwork(path)
