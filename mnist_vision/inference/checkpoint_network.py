"""A network in a checkpoint, run by torch on the CPU."""

import os
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_vision.evaluation.attribution import attribute, grad_cam
from mnist_vision.inference.checkpoint_data import is_trained_on_scenes
from mnist_vision.inference.network import Explanations, Images, Outputs
from mnist_vision.inference.raw_outputs import read_outputs
from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier


class TorchNetwork:
    """A network that torch runs, on the CPU and in float32.

    Args:
        outputs: `DigitClassifier.outputs`, or an exported program of it.
        architecture: Name of the architecture.
        is_for_scenes: Whether it was trained on images of several digits.
        temperature: It divides the scores.
    """

    def __init__(
        self,
        outputs: Callable[[Tensor], dict[str, Tensor]],
        architecture: str,
        is_for_scenes: bool,
        temperature: float = 1.0,
    ) -> None:
        self._outputs = outputs
        self.architecture = architecture
        self.is_for_scenes = is_for_scenes
        self._temperature = temperature

    @torch.inference_mode()
    def __call__(self, images: Images) -> Outputs:
        """Classify images; see `Network`."""
        # As in the test. It holds for the thread that calls.
        torch.set_flush_denormal(True)
        tensors = self._outputs(torch.tensor(images))
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return read_outputs(arrays, self._temperature)


class CheckpointNetwork(TorchNetwork):
    """The network of a checkpoint.

    Args:
        path: The file; `~` is the home folder.

    Raises:
        UserError: If the file is missing, corrupt, or not a checkpoint of this program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        checkpoint = read_checkpoint(path)
        model = rebuild_classifier(checkpoint, path)
        is_for_scenes = is_trained_on_scenes(checkpoint, os.fspath(path))
        super().__init__(model.outputs, model.architecture, is_for_scenes, model.temperature)
        self._model = model

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be explained; None if it can."""
        if self.is_for_scenes:
            return f"{self.architecture} was trained on scenes; use a network of single digits"
        if self._model.attribution_layer is None:
            return f"{self.architecture} has no convolution, so there is no Grad-CAM"
        return None

    def explain(self, images: Images, digits: NDArray[np.int64]) -> Explanations:
        """Explain what was read; see `ExplainableNetwork`."""
        torch.set_flush_denormal(True)
        maps = attribute(self._model, torch.tensor(images), torch.tensor(digits))
        return Explanations(maps.grad_cam.numpy(), maps.integrated_gradients.numpy())

    def grad_cam(self, images: Images, digits: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute Grad-CAM alone; see `ExplainableNetwork`."""
        torch.set_flush_denormal(True)
        heat = grad_cam(self._model, torch.tensor(images), torch.tensor(digits))
        return heat.numpy()
