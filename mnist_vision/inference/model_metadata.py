"""The metadata of an exported file. Importing it does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mnist_vision.common.errors import UserError
from mnist_vision.data.constants import IMAGE_SIZE, NUM_CLASSES
from mnist_vision.runs.calibration_record import TemperatureScaling

# The key that marks files of this program, and the version of this metadata.
_FORMAT_KEY = "mnist_vision_format"
_FORMAT = "1"
_NO_SCALING = TemperatureScaling(temperature=1.0)


@dataclass(frozen=True)
class ModelMetadata:
    """The metadata of an exported file.

    Args:
        architecture: Name of the architecture.
        is_for_scenes: Whether it was trained on images of several digits.
        precision: "float32" or "int8".
        test_accuracy: Accuracy on the test images, in [0, 1], if it is known.
        commit: Commit of the program that trained it, if it is known.
        scaling: Temperature and threshold of the network; files of earlier versions have none.
    """

    architecture: str
    is_for_scenes: bool
    precision: str = "float32"
    test_accuracy: float | None = None
    commit: str | None = None
    scaling: TemperatureScaling = _NO_SCALING

    def to_texts(self) -> dict[str, str]:
        """Convert to texts by name; leave out unknown fields."""
        size = "H, W" if self.is_for_scenes else f"{IMAGE_SIZE}, {IMAGE_SIZE}"
        texts = {
            _FORMAT_KEY: _FORMAT,
            "architecture": self.architecture,
            "classes": ",".join(map(str, range(NUM_CLASSES))),
            "input": f"images: float32 [B, 1, {size}] in [0, 1], bright digits on black; "
            "normalisation and resizing are part of the network",
            "is_for_scenes": str(self.is_for_scenes).lower(),
            "precision": self.precision,
            "scores": "as the network gives them; softmax(scores / temperature) are calibrated "
            "probabilities",
            "temperature": str(self.scaling.temperature),
        }
        if self.scaling.threshold is not None:
            texts["threshold"] = str(self.scaling.threshold)
        if self.test_accuracy is not None:
            texts["test_accuracy"] = str(self.test_accuracy)
        if self.commit is not None:
            texts["commit"] = self.commit
        return texts

    @classmethod
    def read(cls, texts: Mapping[str, str], where: str) -> Self:
        """Read the fields that are needed to use the file.

        Args:
            texts: Texts by name.
            where: Names the file, for the error.

        Raises:
            UserError: If another program or another version wrote them, or the temperature or the
                threshold is out of its range.
        """
        if _FORMAT_KEY not in texts:
            raise UserError(f"{where}: was not written by mnist_vision.export")
        architecture, is_for_scenes = texts.get("architecture", ""), texts.get("is_for_scenes", "")
        is_known = architecture.isidentifier() and is_for_scenes in ("true", "false")
        if texts[_FORMAT_KEY] != _FORMAT or not is_known:
            raise UserError(
                f"{where}: was written by another version of mnist_vision.export; export it again"
            )
        given = {key: texts[key] for key in ("temperature", "threshold") if key in texts}
        scaling = TemperatureScaling.parse_texts(given, where) if given else _NO_SCALING
        return cls(architecture, is_for_scenes == "true", scaling=scaling)
