"""The test digits that every setting gets wrong, and those that a single one does."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_vision.data.mnist import MISSED, CorruptFileError, load_split
from mnist_vision.report.grouping import SharedTest

# Where conf/data/mnist.yaml keeps the data; nothing is ever fetched from here.
DATA_ROOT = "~/.cache/mnist_vision"
MAX_SHARED = 40
MAX_OWN = 12

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class HardDigit:
    """A test digit that was got wrong.

    Args:
        index: Its place in the test set, from 0.
        target: What it is.
        said: What it was taken for, by how many.
        by_setting: What each setting took it for, in the order of settings.
        picture: A data URI; "" if there is none.
    """

    index: int
    target: int
    said: str
    by_setting: tuple[str, ...]
    picture: str


@dataclass(frozen=True)
class HardDigits:
    """The digits that several settings, or one alone, get wrong.

    Args:
        total: How many there are.
        shown: The first of them.
    """

    total: int
    shown: list[HardDigit]


@dataclass(frozen=True)
class Hardest:
    """What a shared test says of single digits.

    Args:
        by_all: Wrong for every setting.
        by_one: By setting, wrong for that one alone.
    """

    by_all: HardDigits
    by_one: list[tuple[str, HardDigits]]


def find_hardest(test: SharedTest, images: Images | None) -> Hardest:
    """Finds them, each setting represented by its run of the lowest seed.

    Args:
        test: Two or more settings.
        images: `[N, 28, 28]` uint8, the digits' pictures; None if there are none.
    """
    preds = np.stack([setting.representative.preds for setting in test.settings])
    is_wrong = preds != test.targets
    num_wrong = is_wrong.sum(axis=0)

    def collect(mask: NDArray[np.bool_], limit: int) -> HardDigits:
        indices = np.flatnonzero(mask)
        shown = [_describe(int(i), test, preds, images) for i in indices[:limit]]
        return HardDigits(len(indices), shown)

    by_one = [
        (setting.label, collect(wrong & (num_wrong == 1), MAX_OWN))
        for setting, wrong in zip(test.settings, is_wrong, strict=True)
    ]
    return Hardest(collect(is_wrong.all(axis=0), MAX_SHARED), by_one)


def load_pictures(test: SharedTest) -> tuple[Images | None, str]:
    """MNIST's test images, if they are on this machine and the test was on them.

    Returns:
        Images `[N, 28, 28]` uint8 and "", or None and why there are none.
    """
    try:
        images, targets = load_split(DATA_ROOT, "test")
    except CorruptFileError as error:
        return None, str(error)
    if not np.array_equal(targets.numpy(), test.targets):
        return None, "these are not the test digits of MNIST, in its order"
    return images.squeeze(1).numpy(), ""


def _describe(
    index: int, test: SharedTest, preds: NDArray[np.int64], images: Images | None
) -> HardDigit:
    by_setting = tuple("nothing" if p == MISSED else str(p) for p in preds[:, index])
    target = int(test.targets[index])
    return HardDigit(
        index,
        target,
        _count_votes(by_setting, str(target)),
        by_setting,
        "" if images is None else _data_uri(images[index]),
    )


def _count_votes(by_setting: Sequence[str], target: str) -> str:
    votes = Counter(said for said in by_setting if said != target).most_common()
    return ", ".join(f"{said} ×{n}" if n > 1 else said for said, n in votes)  # noqa: RUF001


def _data_uri(image: Images) -> str:
    file = io.BytesIO()
    Image.fromarray(255 - image).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
