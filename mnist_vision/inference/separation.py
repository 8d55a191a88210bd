"""Separate the ink of a picture into digits."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_vision.inference.ink import Mask

Slices = tuple[slice, slice]  # rows and columns


class Part(NamedTuple):
    """A part of the ink.

    Args:
        box: The smallest box that holds it, in the picture.
        mask: Its pixels, inside the box.
    """

    box: Slices
    mask: Mask


def whole(mask: Mask) -> Part:
    """Take all ink as one part; there is some."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Part(box, mask[box])


def separate(mask: Mask) -> list[Part]:
    """Separate the ink into digits: line by line, from left to right.

    Pieces one above the other are one digit, such as the stroke over a 5.
    """
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    pieces = [([index], box) for index, box in enumerate(ndimage.find_objects(labels), 1)]
    digits: list[tuple[list[int], Slices]] = []
    for members, box in sorted(pieces, key=lambda each: _area(each[1]), reverse=True):
        for number, (others, digit) in enumerate(digits):
            if _belongs(box, digit):
                digits[number] = (others + members, _union(digit, box))
                break
        else:
            digits.append((members, box))
    order = _reading_order([box for _, box in digits])
    return [_part(labels, *digits[number]) for number in order]


def _part(labels: NDArray[np.int32], members: list[int], box: Slices) -> Part:
    return Part(box, np.isin(labels[box], members))


def _area(box: Slices) -> int:
    return int(np.prod([side.stop - side.start for side in box]))


def _belongs(part: Slices, digit: Slices) -> bool:
    """Test whether a part lies over, under or in a digit, close to it."""
    (part_y, part_x), (digit_y, digit_x) = part, digit
    shared = min(part_x.stop, digit_x.stop) - max(part_x.start, digit_x.start)
    gap = max(part_y.start, digit_y.start) - min(part_y.stop, digit_y.stop)
    height = digit_y.stop - digit_y.start
    return bool(shared > 0.5 * (part_x.stop - part_x.start) and gap < 0.25 * height)


def _union(first: Slices, second: Slices) -> Slices:
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
    return rows, columns


def _reading_order(boxes: list[Slices]) -> list[int]:
    """Sort boxes by lines, from the top, and within a line from the left."""
    lines: list[list[int]] = []
    for number in sorted(range(len(boxes)), key=lambda each: boxes[each][0].start):
        rows = boxes[number][0]
        middle = (rows.start + rows.stop) / 2
        for line in lines:
            first = boxes[line[0]][0]
            if middle < first.stop:
                line.append(number)
                break
        else:
            lines.append([number])
    return [
        number for line in lines for number in sorted(line, key=lambda each: boxes[each][1].start)
    ]
