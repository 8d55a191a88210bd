"""The metrics of a detector, beside the accuracy of its digits."""

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from mnist_vision.data.boxes import DigitBoxes, box_iou
from mnist_vision.data.constants import SAME_PLACE_IOU, SEQUENCE_SCORE
from mnist_vision.models.detection.box_ops import greedy_nms
from mnist_vision.models.detection.roi_heads import Candidates, Detections

# Least IoU at which a box is matched to a digit. In an image of one digit every box is matched: the
# task is classification, so the position of the box does not matter.
READING_IOU = 0.5


def read(candidates: Candidates, digits: DigitBoxes) -> tuple[Tensor, Tensor]:
    """Score each digit by the boxes over it.

    Args:
        candidates: The boxes found.
        digits: The digits of the images.

    Returns:
        Scores `Tensor[B, M, 10]` in [0, 1], the highest of each class, 0 without a box; and the IoU
        of the digit and the box of the highest score, `Tensor[B, M]`, 0 without a box.
    """
    iou = box_iou(digits.boxes, candidates.boxes.flatten(1, 2))
    iou = iou.unflatten(2, candidates.scores.shape[1:])  # [B, M, P, 10]
    is_alone = digits.is_digit.sum(dim=1) == 1
    reads = (iou >= READING_IOU) | is_alone[:, None, None, None]
    scores = candidates.scores[:, None] * reads
    best = scores.flatten(2).argmax(dim=2, keepdim=True)
    has_box = scores.flatten(2).amax(dim=2) > 0
    return scores.amax(dim=2), iou.flatten(2).gather(2, best)[..., 0] * has_box


def is_sequence_right(detections: Detections, digits: DigitBoxes) -> Tensor:
    """Test whether the boxes, from left to right, are the digits of the image and no others.

    The order is that of the boxes' centres along x, whatever their y.

    Args:
        detections: The boxes found. Those of a score of at least `SEQUENCE_SCORE` count, unless a
            better box, of any digit, is at the same place.
        digits: The digits of the images.

    Returns:
        `Tensor[B]` bool.
    """
    is_read = greedy_nms(detections.boxes, detections.scores >= SEQUENCE_SCORE, SAME_PLACE_IOU)
    read_labels = _left_to_right(detections.boxes, detections.labels, is_read)
    true_labels = _left_to_right(digits.boxes, digits.labels, digits.is_digit)
    shared = min(read_labels.shape[1], true_labels.shape[1])
    is_same = (read_labels[:, :shared] == true_labels[:, :shared]).all(dim=1)
    # Where one is longer, the rest must be padding.
    is_same &= (read_labels[:, shared:] < 0).all(dim=1)
    return is_same & (true_labels[:, shared:] < 0).all(dim=1)


def mean_average_precision() -> MeanAveragePrecision:
    """Make torchmetrics' mean average precision, as COCO defines it."""
    return MeanAveragePrecision(box_format="xyxy", iou_type="bbox", backend="pycocotools")


def as_dicts(found: Detections | DigitBoxes) -> list[dict[str, Tensor]]:
    """Make a dictionary of tensors for each image, without padding."""
    is_found = found.labels >= 0
    counts = is_found.sum(dim=1).tolist()
    parts = [values[is_found].split(counts) for values in found]
    return [dict(zip(found._fields, each, strict=True)) for each in zip(*parts, strict=True)]


def _left_to_right(boxes: Tensor, labels: Tensor, is_there: Tensor) -> Tensor:
    """Sort labels by the x of their boxes' centres; -1 follows the last."""
    centres = (boxes[..., 0] + boxes[..., 2]).masked_fill(~is_there, torch.inf)
    return labels.masked_fill(~is_there, -1).gather(1, centres.argsort(dim=1))
