import pytest
import torch

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.models.detection.metrics import (
    as_dicts,
    is_sequence_right,
    mean_average_precision,
    read,
)
from mnist_vision.models.detection.roi_heads import Candidates, Detections

LEFT, MIDDLE, RIGHT = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10]
BETWEEN = [11.0, 0, 19, 10]
NEAR_LEFT = [0.0, 0, 10, 8]  # IoU 0.8 with LEFT
HALF_LEFT = [0.0, 0, 10, 5]  # IoU 0.5
PART_OF_LEFT = [0.0, 0, 10, 3.9]  # IoU 0.49 with NEAR_LEFT
TOO_FAR = [0.0, 0, 10, 4.9]
NOWHERE = [0.0, 0, 0, 0]


def digits(*images):
    """Each image is a list of boxes and their labels; the padding is -1 and zeros."""
    boxes, labels = _padded(images)
    return DigitBoxes(boxes, labels)


def detections(*images):
    """Each image is a list of boxes, labels and scores, the surest first."""
    most = max(len(image) for image in images)
    scores = [[each[2] for each in image] + [0.0] * (most - len(image)) for image in images]
    return Detections(*_padded(images), torch.tensor(scores))


def _padded(images):
    most = max(len(image) for image in images)
    full = [[*image, *[(NOWHERE, -1)] * (most - len(image))] for image in images]
    boxes = torch.tensor([[each[0] for each in image] for image in full]).view(len(full), most, 4)
    return boxes, torch.tensor([[each[1] for each in image] for image in full]).long()


def candidates(*proposals):
    """One image; each proposal is a box for all digits, and what it scores for some."""
    scores = torch.zeros(1, len(proposals), 10)
    for index, (_, each) in enumerate(proposals):
        for label, score in each.items():
            scores[0, index, label] = score
    boxes = torch.tensor([[box for box, _ in proposals]])
    return Candidates(boxes[:, :, None].expand(-1, -1, 10, -1), scores)


TWO_DIGITS = digits([(LEFT, 3), (RIGHT, 7)])


def test_a_digit_is_read_by_the_box_over_it():
    scores, iou = read(candidates((RIGHT, {7: 0.8}), (NEAR_LEFT, {3: 0.9, 5: 0.1})), TWO_DIGITS)
    assert scores.shape == (1, 2, 10)
    assert scores[0, 0].nonzero().flatten().tolist() == [3, 5]
    torch.testing.assert_close(scores[0, 0, [3, 5]], torch.tensor([0.9, 0.1]))
    assert scores[0, 1].nonzero().flatten().tolist() == [7]
    torch.testing.assert_close(iou, torch.tensor([[0.8, 1.0]]))


def test_a_missed_digit_scores_nothing():
    scores, iou = read(candidates((LEFT, {3: 0.9}), (MIDDLE, {7: 0.9})), TWO_DIGITS)
    assert not scores[0, 1].any()
    assert iou.tolist() == [[1, 0]]


def test_a_box_of_another_digit_reads_it_wrong():
    scores, iou = read(candidates((LEFT, {4: 0.9}), (RIGHT, {7: 0.9})), TWO_DIGITS)
    assert scores.argmax(dim=2).tolist() == [[4, 7]]
    assert iou.tolist() == [[1, 1]]


def test_right_labels_over_the_wrong_digits_are_wrong():
    scores, _ = read(candidates((RIGHT, {3: 0.9}), (LEFT, {7: 0.9})), TWO_DIGITS)
    assert scores.argmax(dim=2).tolist() == [[7, 3]]


def test_the_surest_box_wins_even_if_another_fits_better():
    found = candidates((LEFT, {3: 0.6}), (NEAR_LEFT, {5: 0.7, 3: 0.2}), (RIGHT, {9: 0.99}))
    scores, iou = read(found, TWO_DIGITS)
    assert scores[0, 0].argmax() == 5
    torch.testing.assert_close(scores[0, 0, 3], torch.tensor(0.6))
    torch.testing.assert_close(iou[0, 0], torch.tensor(0.8))


@pytest.mark.parametrize(("box", "is_read"), [(HALF_LEFT, True), (TOO_FAR, False)])
def test_a_box_over_half_of_a_digit_reads_it(box, is_read):
    scores, iou = read(candidates((box, {3: 0.9})), TWO_DIGITS)
    assert bool(scores[0, 0].any()) == bool(iou[0, 0] > 0) == is_read


def test_any_box_reads_a_digit_that_is_alone():
    alone = digits([(LEFT, 3)], [(LEFT, 3), (RIGHT, 7)])  # the first image has padding
    one = candidates((TOO_FAR, {3: 0.4}), (MIDDLE, {6: 0.9}))
    scores, iou = read(Candidates(*(each.expand(2, *each.shape[1:]) for each in one)), alone)
    assert scores[0, 0].argmax() == 6
    assert iou[0, 0] == 0  # the surest box is elsewhere
    assert not scores[1].any()


def test_no_candidates_at_all_read_nothing():
    scores, iou = read(candidates((NOWHERE, {}), (LEFT, {})), digits([(LEFT, 3)]))
    assert not scores.any()
    assert iou.tolist() == [[0]]


THREE_DIGITS = [(RIGHT, 1), (LEFT, 3), (MIDDLE, 7)]
ALL_FOUND = [(MIDDLE, 7, 0.9), (RIGHT, 1, 0.8), (NEAR_LEFT, 3, 0.5)]


@pytest.mark.parametrize(
    ("found", "is_right"),
    [
        (ALL_FOUND, True),
        ([*ALL_FOUND, (BETWEEN, 8, 0.49)], True),
        ([*ALL_FOUND, (BETWEEN, 8, 0.5)], False),
        ([*ALL_FOUND, (LEFT, 8, 0.5)], True),
        ([(LEFT, 8, 0.95), *ALL_FOUND], False),
        ([*ALL_FOUND, (PART_OF_LEFT, 8, 0.5)], False),
        (ALL_FOUND[:2], False),
        ([*ALL_FOUND[:2], (LEFT, 3, 0.49)], False),
        ([*ALL_FOUND[:2], (LEFT, 4, 0.9)], False),
        ([(MIDDLE, 3, 0.9), (RIGHT, 1, 0.8), (LEFT, 7, 0.7)], False),
        ([], False),
    ],
    ids=[
        "all found",
        "a doubtful box more",
        "a false positive",
        "another digit at the same place",
        "a better box of another digit at the same place",
        "a box of a part of a digit more",
        "one missed",
        "one doubtful",
        "one wrong",
        "another order",
        "nothing found",
    ],
)
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_a_sequence_is_right_if_its_digits_are_read_and_no_others(found, is_right, padding):
    true = digits(THREE_DIGITS, [(LEFT, 2)] * 3)
    other = [(LEFT, 2, 0.9)] * max(len(found) + padding, 1)
    assert bool(is_sequence_right(detections(found, other), true)[0]) == is_right


def test_an_empty_image_is_right_if_nothing_is_read():
    true = digits([], [], [(LEFT, 1)])
    found = detections([], [(LEFT, 1, 0.9)], [(LEFT, 1, 0.9)])
    assert is_sequence_right(found, true).tolist() == [True, False, True]


def test_dictionaries_have_no_padding():
    # Padding may stand anywhere among digits.
    true = DigitBoxes(
        torch.tensor([[NOWHERE, LEFT], [NOWHERE, NOWHERE]]), torch.tensor([[-1, 3], [-1, -1]])
    )
    first, second = as_dicts(true)
    assert first["boxes"].tolist() == [LEFT]
    assert first["labels"].tolist() == [3]
    assert second["boxes"].shape == (0, 4)
    (found,) = as_dicts(detections([(MIDDLE, 0, 0.75)]))
    assert {name: each.tolist() for name, each in found.items()} == {
        "boxes": [MIDDLE],
        "labels": [0],
        "scores": [0.75],
    }


def mean_average_precision_of(found, true):
    metric = mean_average_precision()
    metric.update(as_dicts(found), as_dicts(true))
    return metric.compute()["map"]


def test_the_mean_average_precision_is_1_if_all_is_found_and_0_if_nothing_is():
    true = digits(THREE_DIGITS, [(LEFT, 0)])
    perfect = detections([(*each, 0.9) for each in THREE_DIGITS], [(LEFT, 0, 0.6)])
    assert mean_average_precision_of(perfect, true) == pytest.approx(1)
    assert mean_average_precision_of(detections([], []), true) == 0
