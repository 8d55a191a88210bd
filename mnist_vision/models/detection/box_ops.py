"""Matching, sampling and suppressing boxes, for all images of a batch at once.

Boxes are `[..., 4]` float32: x1, y1, x2, y2 in pixels, x2 and y2 exclusive.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mnist_vision.data.boxes import box_iou, overlap

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def match(
    candidates: Tensor,
    digits: Tensor,
    is_digit: Tensor,
    *,
    high: float,
    low: float,
    best_always: bool,
) -> tuple[Tensor, Tensor]:
    """Match each candidate box with the digit that it overlaps most.

    Source: `torchvision.models.detection._utils.Matcher`, image by image.

    Args:
        candidates: `Tensor[B, N, 4]`.
        digits: `Tensor[B, M, 4]`, some of them padding.
        is_digit: `Tensor[B, M]` bool.
        high: Least IoU of a positive, 0 to 1.
        low: IoU below which a candidate is negative, 0 to `high`; in between it is ignored.
        best_always: Whether the candidate of the highest IoU with a digit is positive whatever that
            IoU is. Ties are all positive: if no candidate overlaps the digit, all are.

    Returns:
        Index of the digit, `Tensor[B, N]` int64, and the kind of each candidate, `Tensor[B, N]`
        int64: `POSITIVE`, `NEGATIVE` or `IGNORED`.
    """
    iou = box_iou(digits, candidates).masked_fill(~is_digit[..., None], -1)
    best, index = iou.max(dim=1)
    kind = torch.full_like(index, IGNORED).masked_fill_(best < low, NEGATIVE)
    is_positive = best >= high
    if best_always:
        is_best = (iou == iou.amax(dim=2, keepdim=True)) & is_digit[..., None]
        is_positive |= is_best.any(dim=1)
    return index, kind.masked_fill_(is_positive, POSITIVE)


def sample(kind: Tensor, num: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Sample up to `num` positive and negative candidates of each image.

    Source: `torchvision.models.detection._utils.BalancedPositiveNegativeSampler`.

    Args:
        kind: `Tensor[B, N]` int64, from `match`.
        num: Most candidates an image.
        positive_fraction: Largest share of `num` that may be positive, though one always may;
            negatives fill the rest.

    Returns:
        Indices `Tensor[B, S]` int64 with S = min(num, N), and a mask `Tensor[B, S]` bool, false
        for padding.
    """
    num_candidates = kind.shape[1]
    noise = torch.rand(kind.shape, device=kind.device)
    positive_noise = noise.masked_fill(kind != POSITIVE, -1)
    most_positive = max(int(num * positive_fraction), 1)
    last_drawn = positive_noise.topk(min(most_positive, num_candidates)).values[:, -1:]
    # One sort for all: drawn positives come first, then negatives, then those not to be drawn.
    priority = noise + (kind == NEGATIVE) + 2 * (positive_noise >= last_drawn.clamp(min=0))
    values, indices = priority.topk(min(num, num_candidates))
    return indices, values >= 1


def greedy_nms(boxes: Tensor, is_valid: Tensor, threshold: float) -> Tensor:
    """Suppress boxes that overlap a better box (non-maximum suppression).

    Works on all sets of boxes at once, box by box. No step waits for a GPU's result.

    Args:
        boxes: `Tensor[..., N, 4]`: sets of boxes, the best first.
        is_valid: `Tensor[..., N]` bool; other boxes are not kept and suppress nothing.
        threshold: IoU above which a box is suppressed, 0 to 1.

    Returns:
        `Tensor[..., N]` bool. Source: `torchvision.ops.nms`, set by set.
    """
    num = boxes.shape[-2]
    # The sets come last in memory, so that each operation goes through them in one piece.
    sides = boxes.reshape(-1, num, 4).permute(2, 1, 0).contiguous()
    # [N, N, sets]
    is_over = overlap(sides[:, :, None].unbind(), sides[:, None].unbind()) > threshold
    # A copy, as a loop in a program needs the same strides again, even along an axis of one set.
    valid = is_valid.reshape(-1, num).T.clone(memory_format=torch.contiguous_format)
    if torch.compiler.is_exporting():
        return _suppress_in_program(is_over, valid).T.reshape(is_valid.shape)
    dropped = ~valid
    for index, is_over_box in enumerate(is_over):
        # Of booleans, a > b is a and not b.
        dropped[index + 1 :].bitwise_or_(is_over_box[index + 1 :] > dropped[index])
    return ~dropped.T.reshape(is_valid.shape)


def _suppress_in_program(is_over: Tensor, is_valid: Tensor) -> Tensor:
    """Suppress in an exported program, where the number of boxes need not be known.

    Each round drops the boxes that a kept box suppresses, until nothing changes. After n rounds the
    first n boxes are final, so the result is that of going box by box.

    Args:
        is_over: `Tensor[N, N, S]` bool: whether two boxes of a set overlap too much.
        is_valid: `Tensor[N, S]` bool.

    Returns:
        `Tensor[N, S]` bool: the boxes to keep.
    """
    rank = torch.arange(is_over.shape[0], device=is_over.device)
    suppresses = is_over & (rank[:, None] < rank)[..., None]
    return _repeat_until_equal(
        lambda settled: is_valid & ~(suppresses & settled[:, None]).any(dim=0), is_valid
    )


def _repeat_until_equal(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a function until nothing changes, as a loop inside the exported program.

    Only there: in eager mode `torch.while_loop` compiles its functions first.
    """

    def is_changing(values: Tensor, is_changed: Tensor) -> Tensor:
        return is_changed.clone()

    def repeat(values: Tensor, is_changed: Tensor) -> tuple[Tensor, Tensor]:
        following = function(values)
        return following, (following != values).any()

    first = (values.clone(), torch.ones((), dtype=torch.bool, device=values.device))
    final: Tensor = torch.while_loop(is_changing, repeat, first)[0]
    return final


def first_kept(keep: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Find the first `num` true values of each row.

    Args:
        keep: `Tensor[B, N]` bool.
        num: Most positions a row.

    Returns:
        Positions `Tensor[B, S]` int64 in order, with S = min(num, N), and a mask `Tensor[B, S]`
        bool, false for padding.
    """
    countdown = torch.arange(keep.shape[1], 0, -1, device=keep.device)
    values, positions = (keep * countdown).topk(min(num, keep.shape[1]))
    return positions, values > 0


def pick(values: Tensor, indices: Tensor) -> Tensor:
    """Index each row: values `[B, N, *]` and indices `[B, S]` give `[B, S, *]`."""
    rows = torch.arange(values.shape[0], device=values.device)[:, None]
    return values[rows, indices]


def is_larger(boxes: Tensor, min_size: float) -> Tensor:
    """Test whether boxes `[..., 4]` are at least `min_size` pixels wide and high: `[...]` bool."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides >= min_size).all(dim=-1)
