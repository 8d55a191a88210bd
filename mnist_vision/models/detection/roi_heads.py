"""The second stage: classify each proposal and refine its box."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.constants import NUM_CLASSES
from mnist_vision.models.detection.box_coding import Weights, box_loss, decode
from mnist_vision.models.detection.box_ops import (
    IGNORED,
    POSITIVE,
    greedy_nms,
    is_larger,
    match,
    pick,
    sample,
)
from mnist_vision.models.detection.roi_align import roi_align

# torchvision's settings.
POSITIVE_IOU = 0.5
MIN_SIZE = 1e-2
CODE_WEIGHTS: Weights = (10.0, 5.0)


class Candidates(NamedTuple):
    """A box and a score for each proposal and each digit.

    Args:
        boxes: `Tensor[B, P, 10, 4]` float32 in pixels, inside the image.
        scores: `Tensor[B, P, 10]` float32 in [0, 1]: the probability of that digit; 0 for padding,
            for a score not above the threshold, and for a box without area.
    """

    boxes: Tensor
    scores: Tensor


class Detections(NamedTuple):
    """The boxes found in each image, highest score first, padded to the same number an image.

    Args:
        boxes: `Tensor[B, D, 4]` float32 in pixels.
        labels: `Tensor[B, D]` int64 in 0..9; -1 for padding.
        scores: `Tensor[B, D]` float32 in [0, 1]; 0 for padding.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class RoIHeads(nn.Module):
    """Classify each proposal by the features inside it, and refine its box.

    Class 0 is the background: the class of digit d is d + 1.

    Source: R. Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083; the steps are those
    of `torchvision.models.detection.roi_heads`.

    Args:
        channels: Channels of the feature map.
        roi_size: Side of the grid that the features of a proposal are pooled to.
        hidden: Units of each of the two hidden layers.
        batch_size_per_image: Proposals an image that the losses are computed on.
        positive_fraction: Largest share of them that may be digits, 0 to 1.
        score_thresh: A candidate's score must be above it, 0 to 1.
        nms_thresh: IoU above which the worse of two boxes of one digit is dropped, 0 to 1.
        detections_per_img: Most detections an image.
    """

    def __init__(
        self,
        channels: int,
        *,
        roi_size: int,
        hidden: int,
        batch_size_per_image: int,
        positive_fraction: float,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
    ) -> None:
        super().__init__()
        self.box_head = TwoMLPHead(channels * roi_size**2, hidden)
        self.box_predictor = FastRCNNPredictor(hidden, NUM_CLASSES + 1)
        self.roi_size = roi_size
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img

    def forward(self, features: Tensor, boxes: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Predict a class and a box for each proposal.

        Args:
            features: `Tensor[B, C, h, w]`.
            boxes: `Tensor[B, R, 4]` in pixels.
            scale: Feature-map cells per pixel: 1 / stride.

        Returns:
            Class logits `Tensor[B, R, 11]`, and the encoded difference between the box of each
            class and the proposal, `Tensor[B, R, 11, 4]`.
        """
        rois = roi_align(features, boxes, self.roi_size, scale)
        # The layer's weights are stored for channels first, as in torchvision; permuting them is
        # much less work than permuting the features.
        first = self.box_head.fc6
        weight = first.weight.view(-1, features.shape[1], self.roi_size, self.roi_size)
        weight = weight.permute(0, 2, 3, 1).flatten(1)
        hidden = F.relu(_linear(rois.flatten(2), weight, first.bias))
        second = self.box_head.fc7
        hidden = F.relu(_linear(hidden, second.weight, second.bias))
        logits, codes = self.box_predictor(hidden.flatten(0, 1))
        batch, num_boxes = boxes.shape[:2]
        # In bfloat16, which mixed precision computes in, a box could be pixels off.
        return (
            logits.float().view(batch, num_boxes, -1),
            codes.float().view(batch, num_boxes, NUM_CLASSES + 1, 4),
        )

    def losses(
        self,
        features: Tensor,
        scale: float,
        proposals: Tensor,
        is_proposal: Tensor,
        digits: DigitBoxes,
    ) -> dict[str, Tensor]:
        """Compute the losses on a random sample of proposals.

        The boxes of the digits are added to the proposals, so that every digit has a match.

        Args:
            features: `Tensor[B, C, h, w]`.
            scale: Feature-map cells per pixel: 1 / stride.
            proposals: `Tensor[B, P, 4]`, some of them padding.
            is_proposal: `Tensor[B, P]` bool.
            digits: The digits of each image; an image may have none.

        Returns:
            `loss_classifier` and `loss_box_reg`, scalars.
        """
        boxes = torch.cat([proposals, digits.boxes], dim=1)
        is_box = torch.cat([is_proposal, digits.is_digit], dim=1)
        digit_index, kind = match(
            boxes,
            digits.boxes,
            digits.is_digit,
            high=POSITIVE_IOU,
            low=POSITIVE_IOU,
            best_always=False,
        )
        indices, is_drawn = sample(
            kind.masked_fill(~is_box, IGNORED), self.batch_size_per_image, self.positive_fraction
        )
        boxes, digit_index = pick(boxes, indices), pick(digit_index, indices)
        is_positive = (pick(kind, indices) == POSITIVE) & is_drawn
        classes = (pick(digits.labels, digit_index) + 1) * is_positive

        logits, codes = self(features, boxes, scale)
        num_drawn = is_drawn.sum().clamp(min=1)
        classification_loss = F.cross_entropy(
            logits.flatten(0, 1),
            classes.masked_fill(~is_drawn, IGNORED).flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        codes = codes.gather(2, classes[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        box_error = box_loss(
            codes, pick(digits.boxes, digit_index), boxes, is_positive, CODE_WEIGHTS
        )
        return {
            "loss_classifier": classification_loss / num_drawn,
            "loss_box_reg": box_error / num_drawn,
        }

    def candidates(
        self,
        features: Tensor,
        scale: float,
        proposals: Tensor,
        is_proposal: Tensor,
        image_size: tuple[int, int],
    ) -> Candidates:
        """Compute a box and a score of each digit for each proposal.

        Args:
            features: `Tensor[B, C, h, w]`.
            scale: Feature-map cells per pixel: 1 / stride.
            proposals: `Tensor[B, P, 4]`, some of them padding.
            is_proposal: `Tensor[B, P]` bool.
            image_size: Height and width in pixels.
        """
        logits, codes = self(features, proposals, scale)
        scores = logits.softmax(dim=-1)[..., 1:]
        boxes = decode(codes[:, :, 1:], proposals[:, :, None], CODE_WEIGHTS, image_size)
        is_candidate = scores > self.score_thresh
        is_candidate &= is_proposal[..., None] & is_larger(boxes, MIN_SIZE)
        return Candidates(boxes, scores * is_candidate)

    def select(self, candidates: Candidates) -> Detections:
        """Suppress overlapping boxes of each digit, and keep the boxes of the highest scores."""
        # [B, 10, P]: suppression is done for each digit alone.
        scores, order = candidates.scores.transpose(1, 2).sort(dim=2, descending=True)
        boxes = candidates.boxes.transpose(1, 2)
        boxes = boxes.gather(2, order[..., None].expand_as(boxes))
        keep = greedy_nms(boxes, scores > 0, self.nms_thresh)
        kept_scores = (scores * keep).flatten(1)
        # Stable, so that of equal scores the smaller digit comes first, as in argmax.
        ranked_scores, ranked = kept_scores.sort(dim=1, descending=True, stable=True)
        top_scores = ranked_scores[:, : self.detections_per_img]
        positions = ranked[:, : self.detections_per_img]
        labels = positions // scores.shape[2]
        return Detections(
            pick(boxes.flatten(1, 2), positions) * (top_scores > 0)[..., None],
            labels.masked_fill(top_scores == 0, -1),
            top_scores,
        )


def _linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer to rows `[B, R, K]`: `[B, R, N]`.

    On a CPU as a 1x1 convolution, the pixels of which are the rows of an image. oneDNN computes
    that; on an AMD processor with AVX-512 it took half the time of MKL's matrix product. A GPU and
    ONNX Runtime get the matrix product.
    """
    if not rows.is_cpu or torch.compiler.is_exporting():
        return F.linear(rows, weight, bias)
    pixels = rows.transpose(1, 2)[:, :, None]  # along x: oneDNN is slower along y
    return F.conv2d(pixels, weight[..., None, None], bias)[:, :, 0].transpose(1, 2)
