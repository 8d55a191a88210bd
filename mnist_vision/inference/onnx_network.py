"""A network in an ONNX file, run by onnxruntime. Importing it does not import torch."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.common.errors import UserError, first_line
from mnist_vision.common.files import shown
from mnist_vision.common.paths import shortened
from mnist_vision.data.constants import IMAGE_SIZE, NUM_CLASSES
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.inference.network import Images, Outputs
from mnist_vision.inference.raw_outputs import read_outputs
from mnist_vision.runs.calibration_record import TemperatureScaling
from mnist_vision.runs.directory import find_checkpoint

INPUT_NAME = "images"
_DETECTOR_OUTPUTS = ["scores", "boxes", "labels", "box_scores"]
_FATAL = 4  # the severity at which onnxruntime writes to standard error; it raises errors too


class OnnxNetwork:
    """A network that `mnist_vision.export` wrote, on the CPU.

    Args:
        path: The file; `~` is the home folder.
        content: Its content, if the file is yet to be written.

    Raises:
        UserError: If onnxruntime is not installed, or the file is missing, corrupt, or not one that
            `mnist_vision.export` wrote.
    """

    def __init__(self, path: str | os.PathLike[str], content: bytes | None = None) -> None:
        self._where = f"ckpt_path={shortened(shown(path))}"
        if content is None:
            content = _read(path, self._where)
        self._session = _open_session(content, self._where)
        texts = self._session.get_modelmeta().custom_metadata_map
        self._metadata = ModelMetadata.read(texts, self._where)
        self._names = [output.name for output in self._session.get_outputs()]
        self._check_signature()

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self._metadata.architecture

    @property
    def is_for_scenes(self) -> bool:
        """True if the network was trained on images of several digits."""
        return self._metadata.is_for_scenes

    @property
    def scaling(self) -> TemperatureScaling:
        """Temperature and threshold of the network."""
        return self._metadata.scaling

    def __call__(self, images: Images) -> Outputs:
        """Classify images; see `Network`."""
        return read_outputs(self.run(images), self.scaling.temperature)

    def run(self, images: Images) -> dict[str, NDArray[Any]]:
        """Compute the network's outputs, named as in `DigitClassifier.outputs`.

        Raises:
            UserError: If a score is not a number.
        """
        arrays = self._session.run(None, {INPUT_NAME: np.ascontiguousarray(images)})
        if np.isnan(arrays[0]).any():
            raise UserError(f"{self._where}: gives scores that are NaN; export it again")
        return dict(zip(self._names, arrays, strict=True))

    def _check_signature(self) -> None:
        """Check names, types and shapes of input and outputs."""
        inputs, (scores, *_) = self._session.get_inputs(), self._session.get_outputs()
        side = "any" if self.is_for_scenes else IMAGE_SIZE
        taken = [(each.name, each.type, _known_sizes(each.shape)) for each in inputs]
        if taken != [(INPUT_NAME, "tensor(float)", ["any", 1, side, side])]:
            listed = ", ".join(f"{name} {type_} {shape}" for name, type_, shape in taken)
            raise UserError(
                f"{self._where}: takes {shortened(listed)}, must take {INPUT_NAME} tensor(float) "
                f"{['any', 1, side, side]}; export it again"
            )
        is_scores = _known_sizes(scores.shape) == ["any", NUM_CLASSES]
        if not is_scores or self._names not in (["scores"], _DETECTOR_OUTPUTS):
            raise UserError(
                f"{self._where}: gives {shortened(', '.join(self._names))}, the first of shape "
                f"{_known_sizes(scores.shape)}; must give scores of shape {['any', NUM_CLASSES]}, "
                "and a detector also boxes, labels and box_scores; export it again"
            )


def _known_sizes(shape: list[Any]) -> list[Any]:
    """Replace each dynamic size, a name or None, by "any"."""
    return [size if isinstance(size, int) else "any" for size in shape]


def _read(path: str | os.PathLike[str], where: str) -> bytes:
    try:
        return find_checkpoint(path).read_bytes()
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error


def _open_session(content: bytes, where: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{where}: onnxruntime is not installed; pip install 'mnist_vision[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    # As in training and in the test.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds, all of onnxruntime's own
        reason = shortened(first_line(error).rpartition(" : ")[2])
        raise UserError(f"{where}: corrupt, or not an ONNX file: {reason}") from error
