"""The record of a network under a suite of corruptions: `robustness.json`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnist_vision.common.checks import Count, NonNegative, NonNegativeInt, Share
from mnist_vision.runs.base_record import FileRecord, Record
from mnist_vision.runs.file_names import ROBUSTNESS_FILE
from mnist_vision.runs.record import Name


class CorruptedTest(Record):
    """The figures of a test on corrupted images.

    Args:
        accuracy: Share of the images whose prediction is right.
        num_images: Number of images.
        missed: Images in which the network found nothing; they count as wrong.
        seconds: Duration, with that of corrupting the images.
    """

    accuracy: Share
    num_images: Count
    missed: NonNegativeInt
    seconds: NonNegative


class Robustness(FileRecord):
    """The figures of a network under each corruption of a suite.

    Args:
        version: Of this layout.
        suite: Name of the suite.
        suite_version: Version of the suite; figures of different versions cannot be compared.
        architecture: Name of the architecture.
        ckpt_path: The file of the network.
        clean_accuracy: Accuracy on the images without corruption.
        corruptions: Figures by the name of the corruption, in the order of the suite.
        mean_accuracy: Mean accuracy over the corruptions in `mean_over`.
        mean_over: Names of corruptions.
        seconds: Duration of all corrupted tests.
    """

    FILE: ClassVar[str] = ROBUSTNESS_FILE

    version: Literal[1] = 1
    suite: Name
    suite_version: Count
    architecture: Name
    ckpt_path: Name
    clean_accuracy: Share
    corruptions: Annotated[dict[Name, CorruptedTest], Field(min_length=1)]
    mean_accuracy: Share
    mean_over: Annotated[list[Name], Field(min_length=1)]
    seconds: NonNegative

    def metrics(self) -> dict[str, float]:
        """Return the accuracies by the keys that loggers show: `robustness/NAME`."""
        accuracies = {name: test.accuracy for name, test in self.corruptions.items()}
        accuracies |= {"clean": self.clean_accuracy, "mean": self.mean_accuracy}
        return {f"robustness/{name}": accuracy for name, accuracy in accuracies.items()}
