import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, Matcher
from torchvision.ops import box_iou as torchvision_box_iou
from torchvision.ops import nms

from mnist_vision.data.boxes import DigitBoxes, box_iou
from mnist_vision.models.detection.box_ops import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
    first_kept,
    greedy_nms,
    is_larger,
    match,
    pick,
    sample,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_boxes(*shape, size=28):
    """Boxes of 1 px a side or more in a square image."""
    corners = torch.rand(*shape, 2) * (size - 1)
    sides = 1 + torch.rand(*shape, 2) * (size - 1 - corners)
    return torch.cat([corners, corners + sides], dim=-1)


def random_digits(num_images, most, size=28):
    """0 to `most` digits an image, in turn; the padding is anywhere."""
    number = torch.arange(num_images) % (most + 1)
    is_digit = torch.rand(num_images, most).argsort(dim=1) < number[:, None]
    labels = torch.randint(10, (num_images, most)).where(is_digit, -1)
    return DigitBoxes(random_boxes(num_images, most, size=size) * is_digit[..., None], labels)


def test_overlaps_are_torchvisions():
    boxes, others = random_boxes(3, 20), random_boxes(3, 30)
    others[:, :5] = boxes[:, :5]
    boxes[:, 0] = others[:, 1, 2:] = 0  # empty, and turned inside out
    found = box_iou(boxes, others)
    assert torch.equal(found, torchvision_box_iou(boxes, others))
    assert not found[:, 0].any()


def test_an_empty_box_overlaps_nothing_not_even_itself():
    assert box_iou(torch.zeros(2, 1, 4), torch.zeros(2, 1, 4)).tolist() == [[[0]], [[0]]]


@pytest.mark.parametrize(("high", "low"), [(0.7, 0.3), (0.5, 0.5)])
@pytest.mark.parametrize("best_always", [True, False])
def test_matches_are_torchvisions(high, low, best_always):
    digits = random_digits(12, 5)
    digits.boxes[11, 0] = torch.tensor([90.0, 90, 99, 99])  # overlaps nothing
    digits.labels[11, 0] = 3
    nothing = torch.zeros(12, 2, 4)
    candidates = torch.cat([random_boxes(12, 80), digits.boxes, digits.boxes, nothing], dim=1)
    index, kind = match(
        candidates, digits.boxes, digits.is_digit, high=high, low=low, best_always=best_always
    )
    matcher = Matcher(high, low, allow_low_quality_matches=best_always)
    for image, is_digit in enumerate(digits.is_digit):
        if not is_digit.any():
            assert (kind[image] == NEGATIVE).all()
            continue
        boxes = digits.boxes[image, is_digit]
        matched = matcher(torchvision_box_iou(boxes, candidates[image]))
        kinds = {matcher.BELOW_LOW_THRESHOLD: NEGATIVE, matcher.BETWEEN_THRESHOLDS: IGNORED}
        assert kind[image].tolist() == [kinds.get(m, POSITIVE) for m in matched.tolist()]
        is_positive = matched >= 0
        ours = digits.boxes[image, index[image]]
        torch.testing.assert_close(ours[is_positive], boxes[matched[is_positive]])
    expected = {POSITIVE, NEGATIVE} if high == low else {POSITIVE, NEGATIVE, IGNORED}
    assert set(kind.flatten().tolist()) == expected


def random_kinds(num_images, num_candidates):
    """Kinds in all proportions, some images with one kind alone."""
    shares = torch.rand(num_images, 3)
    shares[:3] = torch.eye(3)
    return shares.multinomial(num_candidates, replacement=True) - 1


@pytest.mark.parametrize(
    ("num", "fraction"), [(2, 0.5), (7, 0.5), (8, 0.25), (20, 0.9), (20, 1.0), (30, 0.5), (99, 0.5)]
)
def test_as_many_are_drawn_as_torchvision_draws(num, fraction):
    kind = random_kinds(60, 30)
    indices, is_drawn = sample(kind, num, fraction)
    assert indices.shape == is_drawn.shape == (60, min(num, 30))
    drawn = pick(kind, indices).masked_fill(~is_drawn, IGNORED)
    positive, negative = BalancedPositiveNegativeSampler(num, fraction)(list(kind))
    assert (drawn == POSITIVE).sum(dim=1).tolist() == [int(each.sum()) for each in positive]
    assert (drawn == NEGATIVE).sum(dim=1).tolist() == [int(each.sum()) for each in negative]


def test_no_ignored_candidate_is_drawn_and_none_twice():
    kind = random_kinds(60, 30)
    indices, is_drawn = sample(kind, 12, 0.5)
    assert (pick(kind, indices)[is_drawn] != IGNORED).all()
    assert all(len(row.unique()) == 12 for row in indices)


@pytest.mark.parametrize(("num", "fraction"), [(1, 0.5), (4, 0.1)])
def test_a_single_positive_is_drawn_however_small_the_fraction(num, fraction):
    kind = torch.tensor([[NEGATIVE] * 5 + [POSITIVE] * 3])
    indices, is_drawn = sample(kind, num, fraction)
    assert is_drawn.all()
    assert (pick(kind, indices) == POSITIVE).sum() == 1


def test_candidates_of_a_kind_are_equally_likely():
    num_draws = 4000
    kind = torch.tensor([POSITIVE] * 4 + [NEGATIVE] * 6 + [IGNORED] * 3).expand(num_draws, -1)
    indices, is_drawn = sample(kind, 4, 0.5)
    shares = indices[is_drawn].bincount(minlength=13) / num_draws
    expected = torch.tensor([2 / 4] * 4 + [2 / 6] * 6 + [0] * 3)
    # Five standard deviations of a share of 4000 draws are at most 0.04.
    torch.testing.assert_close(shares, expected, atol=0.04, rtol=0)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_suppression_is_torchvisions_set_by_set(threshold):
    boxes = random_boxes(3, 4, 30)
    boxes[..., 5, :] = boxes[..., 2, :]
    boxes[..., 7, :] = 0
    boxes[..., 9, 2] = boxes[..., 9, 0]
    is_valid = torch.rand(3, 4, 30) < torch.tensor([0, 0.5, 1])[:, None, None]
    keep = greedy_nms(boxes, is_valid, threshold)
    order = torch.arange(30)
    for position in torch.cartesian_prod(torch.arange(3), torch.arange(4)).tolist():
        place = tuple(position)
        valid = order[is_valid[place]]
        kept = nms(boxes[place][valid], -valid.float(), threshold)
        assert keep[place].nonzero().flatten().tolist() == valid[kept].tolist()


def test_suppression_goes_on_to_the_end_of_a_long_chain():
    starts = torch.arange(64) * 2.0  # each box overlaps the two before and behind it
    boxes = torch.stack([starts, torch.zeros(64), starts + 10, torch.full((64,), 10.0)], dim=1)
    keep = greedy_nms(boxes, torch.ones(64, dtype=torch.bool), 0.5)
    assert keep.nonzero().flatten().tolist() == nms(boxes, -torch.arange(64.0), 0.5).tolist()
    assert keep.nonzero().flatten().tolist() == list(range(0, 64, 2))


def test_suppression_leaves_what_it_is_given():
    boxes, is_valid = random_boxes(2, 10), torch.ones(2, 10, dtype=torch.bool)
    greedy_nms(boxes, is_valid, 0.1)
    assert is_valid.all()


def test_a_lone_box_is_kept_if_it_is_valid():
    assert greedy_nms(random_boxes(2, 1), torch.tensor([[True], [False]]), 0.5).tolist() == [
        [True],
        [False],
    ]


def test_the_first_kept_come_in_order():
    keep = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    positions, is_kept = first_kept(keep, 2)
    assert is_kept.tolist() == [[True, True], [True, False], [False, False]]
    assert positions[0].tolist() == [1, 3]
    assert positions[1, 0] == 0


def test_no_more_positions_are_given_than_there_are():
    keep = torch.tensor([[False, True, True]])
    positions, is_kept = first_kept(keep, 10)
    assert positions.shape == is_kept.shape == (1, 3)
    assert positions[is_kept].tolist() == [1, 2]


def test_pick_takes_values_row_by_row():
    values = torch.arange(12).view(2, 3, 2)
    assert pick(values, torch.tensor([[2, 0], [1, 1]])).tolist() == [
        [[4, 5], [0, 1]],
        [[8, 9], [8, 9]],
    ]
    assert pick(values[..., 0], torch.tensor([[2], [0]])).tolist() == [[4], [6]]


def test_a_box_is_large_if_both_sides_are():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 9], [3, 3, 3, 5], [5, 0, 2, 9], [1, 1, 3, 9]])
    assert is_larger(boxes, 2).tolist() == [True, False, False, False, True]
