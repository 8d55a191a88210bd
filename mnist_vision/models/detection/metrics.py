"""What a detector is measured by, beside the digits it reads right."""

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from mnist_vision.data.boxes import DigitBoxes, box_iou
from mnist_vision.models.detection.roi_heads import Candidates, Detections

# A box reads a digit if it overlaps it at least so much. In an image of one digit, which is there
# to be classified, the surest box reads it wherever it is.
READING_IOU = 0.5
# A box that is surer than not counts as read aloud.
SEQUENCE_SCORE = 0.5


def read(candidates: Candidates, digits: DigitBoxes) -> tuple[Tensor, Tensor]:
    """What the boxes over each digit say it is, and how well the surest of them fits.

    Args:
        candidates: What was found.
        digits: What is there.

    Returns:
        Scores `Tensor[B, M, 10]` in [0, 1], that of the best box for each class, 0 for no box; and
        the IoU with the digit of the surest box, `Tensor[B, M]`, 0 for no box.
    """
    iou = box_iou(digits.boxes, candidates.boxes.flatten(1, 2))
    iou = iou.unflatten(2, candidates.scores.shape[1:])  # [B, M, P, 10]
    is_alone = digits.is_digit.sum(dim=1) == 1
    reads = (iou >= READING_IOU) | is_alone[:, None, None, None]
    scores = candidates.scores[:, None] * reads
    surest = scores.flatten(2).argmax(dim=2, keepdim=True)
    has_box = scores.flatten(2).amax(dim=2) > 0
    return scores.amax(dim=2), iou.flatten(2).gather(2, surest)[..., 0] * has_box


def is_sequence_right(detections: Detections, digits: DigitBoxes) -> Tensor:
    """Whether the boxes, read from left to right, give the digits of each image and no others.

    From left to right is by the boxes' centres, of digits above each other too.

    Args:
        detections: What was found; boxes of a score of at least `SEQUENCE_SCORE` are read.
        digits: What is there.

    Returns:
        `Tensor[B]` bool.
    """
    is_read = detections.scores >= SEQUENCE_SCORE
    read_labels = _left_to_right(detections.boxes, detections.labels, is_read)
    true_labels = _left_to_right(digits.boxes, digits.labels, digits.is_digit)
    shared = min(read_labels.shape[1], true_labels.shape[1])
    is_same = (read_labels[:, :shared] == true_labels[:, :shared]).all(dim=1)
    # What one side has beyond the other's length must be padding.
    is_same &= (read_labels[:, shared:] < 0).all(dim=1)
    return is_same & (true_labels[:, shared:] < 0).all(dim=1)


def mean_average_precision() -> MeanAveragePrecision:
    """Torchmetrics' metric, as COCO defines it."""
    return MeanAveragePrecision(box_format="xyxy", iou_type="bbox", backend="pycocotools")


def as_dicts(found: Detections | DigitBoxes) -> list[dict[str, Tensor]]:
    """One dictionary of tensors an image, without padding."""
    is_found = found.labels >= 0
    counts = is_found.sum(dim=1).tolist()
    parts = [values[is_found].split(counts) for values in found]
    return [dict(zip(found._fields, each, strict=True)) for each in zip(*parts, strict=True)]


def _left_to_right(boxes: Tensor, labels: Tensor, is_there: Tensor) -> Tensor:
    """Labels in the order of their boxes' centres; -1 behind the last."""
    centres = (boxes[..., 0] + boxes[..., 2]).masked_fill(~is_there, torch.inf)
    return labels.masked_fill(~is_there, -1).gather(1, centres.argsort(dim=1))
