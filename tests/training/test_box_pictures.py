import pytest
import torch

from mnist_vision.data.boxes import locate
from mnist_vision.models.detection.metrics import as_dicts
from mnist_vision.training.box_pictures import draw_boxes
from tests.benchmarks.test_stock_detector import scenes
from tests.models.test_faster_rcnn import batch

NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}


@pytest.mark.parametrize("make", [batch, scenes])
def test_true_boxes_are_green_and_found_ones_red(make):
    images, targets = make(5)
    true = as_dicts(locate(images, targets))
    found = [
        each | {"boxes": each["boxes"] / 2, "scores": torch.ones(len(each["labels"]))}
        for each in true
    ]
    picture = draw_boxes(images, locate(images, targets), found)
    assert picture.dtype == torch.uint8
    # Two rows of up to four, with 2 pixels between them.
    assert picture.shape == (3, 2 * 322 + 2, 4 * 322 + 2)
    red, green, blue = picture.int()
    assert ((green == 255) & (red == 0) & (blue == 0)).any()
    assert ((red == 255) & (green == 0) & (blue == 0)).any()


def test_true_boxes_are_drawn_around_the_ink_of_oblong_images():
    images = torch.zeros(1, 1, 28, 56)
    images[..., 12:16, 24:32] = 1
    digits = locate(images, torch.tensor([1]))
    red, green, blue = draw_boxes(images, digits, [NOTHING]).int()
    rows = ((green == 255) & (red == 0) & (blue == 0)).any(dim=1).nonzero().flatten()
    ink = ((red == 255) & (green == 255)).any(dim=1).nonzero().flatten()
    assert abs(int(rows.max()) - int(ink.max())) <= 3
