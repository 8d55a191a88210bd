import numpy as np
import pytest

from mnist_vision.inference.separation import separate, whole


def mask_of(*boxes):
    """Full boxes, each given as rows and columns."""
    mask = np.zeros((100, 200), bool)
    for y1, y2, x1, x2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def test_digits_are_read_from_left_to_right_and_line_by_line():
    boxes = [(10, 35, 20, 30), (12, 38, 60, 75), (5, 30, 120, 140), (60, 90, 15, 30)]
    parts = separate(mask_of(*boxes))
    assert [part.box for part in parts] == [
        (slice(y1, y2), slice(x1, x2)) for y1, y2, x1, x2 in boxes
    ]


def test_a_stroke_over_a_digit_belongs_to_it():
    (part,) = separate(mask_of((30, 80, 20, 40), (20, 25, 22, 44)))
    assert part.box == (slice(20, 80), slice(20, 44))


def test_the_digit_of_the_next_line_does_not():
    assert len(separate(mask_of((5, 35, 20, 40), (60, 90, 20, 40)))) == 2


def test_all_ink_is_in_one_part_and_in_one_only():
    mask = mask_of((10, 30, 0, 10), (10, 30, 20, 30), (5, 8, 20, 30), (60, 90, 100, 120))
    count = np.zeros(mask.shape, int)
    for part in separate(mask):
        count[part.box] += part.mask
    np.testing.assert_array_equal(count, mask.astype(int))
    count[whole(mask).box] -= whole(mask).mask
    assert not count.any()


@pytest.mark.parametrize("count", [1, 40])
def test_any_number_of_digits_is_separated(count):
    boxes = [(10, 20, 5 * index, 5 * index + 3) for index in range(count)]
    assert len(separate(mask_of(*boxes))) == count
