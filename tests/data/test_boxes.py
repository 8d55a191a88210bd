import pytest
import torch

from mnist_vision.data.boxes import INK_THRESHOLD, DigitBoxes, ink_boxes, label_ink


def box_by_looking(image):
    """The box of one image `[1, H, W]`, pixel by pixel."""
    found = [
        (x, y)
        for y, row in enumerate(image[0].tolist())
        for x, value in enumerate(row)
        if value > INK_THRESHOLD
    ]
    if not found:
        return [0, 0, 0, 0]
    columns, rows = zip(*found, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.05, 0.5])
def test_boxes_equal_a_look_at_every_pixel(share):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(100, 1, 20, 31, generator=generator)
    images *= torch.rand(images.shape, generator=generator) < share
    boxes = ink_boxes(images)
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [box_by_looking(image) for image in images]


@pytest.mark.parametrize("column", [0, 13, 27])
@pytest.mark.parametrize("row", [0, 13, 27])
def test_a_single_pixel_has_a_box_of_one_pixel(row, column):
    images = torch.zeros(1, 1, 28, 28)
    images[0, 0, row, column] = 1
    assert ink_boxes(images).tolist() == [[column, row, column + 1, row + 1]]


def test_a_line_has_a_box_one_pixel_wide():
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 4:24, 9] = 1
    images[1, 0, 9, 4:24] = 1
    assert ink_boxes(images).tolist() == [[9, 4, 10, 24], [4, 9, 24, 10]]


def test_ink_up_to_the_borders_has_a_box_as_large_as_the_image():
    assert ink_boxes(torch.ones(1, 1, 20, 31)).tolist() == [[0, 0, 31, 20]]


def test_faint_pixels_are_no_ink():
    images = torch.full((2, 1, 28, 28), INK_THRESHOLD)
    images[1, 0, 5:7, 8] = INK_THRESHOLD + 0.001
    assert ink_boxes(images).tolist() == [[0, 0, 0, 0], [8, 5, 9, 7]]


def test_a_blank_image_holds_no_digit():
    images = torch.zeros(3, 1, 28, 28)
    images[1, 0, 4:24, 6:20] = 1
    digits = label_ink(images, torch.tensor([7, 0, 9]))
    assert digits.labels.tolist() == [[-1], [0], [-1]]
    assert digits.is_digit.tolist() == [[False], [True], [False]]
    assert digits.boxes.tolist() == [[[0, 0, 0, 0]], [[6, 4, 20, 24]], [[0, 0, 0, 0]]]


def test_there_is_one_digit_an_image():
    digits = label_ink(torch.rand(5, 1, 28, 28), torch.arange(5))
    assert isinstance(digits, DigitBoxes)
    assert digits.boxes.shape == (5, 1, 4)
    assert digits.labels.shape == (5, 1)
    assert digits.labels.dtype == torch.int64
