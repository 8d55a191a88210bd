"""The test digits that every setting gets wrong, and those that only one does."""

import io
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_vision.data.constants import MISSED
from mnist_vision.data.label_errors import find_label_errors
from mnist_vision.data.mnist import CorruptFileError, load_split
from mnist_vision.report.blocks import (
    Block,
    Cell,
    Details,
    Gallery,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    for_each_test,
)
from mnist_vision.report.grouping import SharedTest

# Where conf/data/mnist.yaml keeps the data. The report does not download them.
DATA_ROOT = "~/.cache/mnist_vision"
MAX_SHARED = 40
MAX_SINGLE = 12

Indices = NDArray[np.int64]
Images = NDArray[np.uint8]


def find_hard_digits(test: SharedTest) -> tuple[Indices, list[Indices]]:
    """Find the digits that every setting gets wrong, and those that only one setting gets wrong.

    Returns:
        Indices of the digits in the test set.
    """
    is_wrong = np.stack([~setting.is_correct for setting in test.settings])
    is_single = is_wrong.sum(axis=0) == 1
    by_one = [np.flatnonzero(wrong & is_single) for wrong in is_wrong]
    return np.flatnonzero(is_wrong.all(axis=0)), by_one


def load_images(test: SharedTest) -> tuple[Images | None, str]:
    """Load MNIST's test images, if they are on this machine and the settings were tested on them.

    Returns:
        Images `[N, 28, 28]` uint8 and "", or None and the reason.
    """
    try:
        images, targets = load_split(DATA_ROOT, "test")
    except CorruptFileError as error:
        return None, str(error)
    if not np.array_equal(targets.numpy(), test.targets):
        return None, "the runs were not tested on MNIST's test images in the official order"
    return images.squeeze(1).numpy(), ""


def _make_blocks(test: SharedTest) -> list[Block]:
    """Make the pictures and the table for settings tested on the same digits."""
    if len(test.settings) == 1:
        return [Paragraph("A single setting: its confusion matrix shows all of its mistakes.")]
    images, reason = load_images(test)
    by_all, by_one = find_hard_digits(test)
    blocks: list[Block] = [Paragraph(f"There are no pictures: {reason}.")] if reason else []
    blocks.append(Heading(f"Wrong for every setting: {len(by_all)} of {len(test.targets):,}"))
    if len(by_all):
        blocks += _gallery(test, images, by_all, MAX_SHARED)
        table = _predictions_table(test, by_all[:MAX_SHARED])
        blocks.append(Details("Predictions of each setting", table))
    for setting, indices in zip(test.settings, by_one, strict=True):
        if len(indices):
            blocks.append(Heading(f"Wrong only for {setting.label}: {len(indices)}"))
            blocks += _gallery(test, images, indices, MAX_SINGLE)
    return blocks


def _gallery(test: SharedTest, images: Images | None, indices: Indices, limit: int) -> list[Block]:
    errors = find_label_errors(test.targets)
    pictures = [
        Picture(
            str(test.targets[index]),
            f"as {_wrong_predictions(test, index)}",
            f"no. {index}, label known to be wrong" if index in errors else f"no. {index}",
            b"" if images is None else encode_png(255 - images[index]),
        )
        for index in indices[:limit]
    ]
    is_cut = len(indices) > limit
    note = [Paragraph(f"The first {limit} of {len(indices)}.", "soft")] if is_cut else []
    return [*note, Gallery(pictures)]


def _predictions_table(test: SharedTest, indices: Indices) -> Table:
    rows = [
        [Cell(str(index)), Cell(str(test.targets[index])), *map(Cell, _predictions(test, index))]
        for index in indices
    ]
    labels = [setting.label for setting in test.settings]
    return Table(("test digit", "true class", *labels), rows)


def _predictions(test: SharedTest, index: int) -> list[str]:
    """List the predictions of the settings for a digit."""
    digits = [setting.representative.predictions[index] for setting in test.settings]
    return ["nothing" if digit == MISSED else str(digit) for digit in digits]


def _wrong_predictions(test: SharedTest, index: int) -> str:
    """List the wrong predictions, most frequent first: "5 ×2, nothing"."""  # noqa: RUF002
    predictions = Counter(_predictions(test, index))
    del predictions[str(test.targets[index])]
    counted = predictions.most_common()
    return ", ".join(f"{digit} ×{n}" if n > 1 else digit for digit, n in counted)  # noqa: RUF001


def encode_png(image: Images) -> bytes:
    """Encode an image as a PNG file: grey `[H, W]`, or RGB `[H, W, 3]`."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


SECTION = Section(
    "Hard digits",
    "Each digit is shown with its true class, the wrong predictions, how many settings made each, "
    "and its number in the test set. Each setting is represented by its run of the lowest seed. "
    "Labels known to be wrong are those of C. G. Northcutt et al., "
    '"Pervasive Label Errors in Test Sets", 2021.',
    for_each_test(_make_blocks),
)
