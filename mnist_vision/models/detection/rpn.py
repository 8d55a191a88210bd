"""The first stage: propose boxes that may hold a digit."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.models.detection.box_coding import Weights, box_loss, decode
from mnist_vision.models.detection.box_ops import (
    POSITIVE,
    first_kept,
    greedy_nms,
    is_larger,
    match,
    pick,
    sample,
)

# torchvision's settings.
HIGH_IOU, LOW_IOU = 0.7, 0.3
POSITIVE_FRACTION = 0.5
NMS_IOU = 0.7
MIN_SIZE = 1e-3
CODE_WEIGHTS: Weights = (1.0, 1.0)


class RegionProposalNetwork(nn.Module):
    """Score anchors and move them onto digits of any class.

    Source: S. Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497; the settings are
    those of `torchvision.models.detection.rpn`.

    Args:
        channels: Channels of the feature map.
        anchor_sizes: Square roots of the areas of anchors, in pixels.
        aspect_ratios: Heights over widths of anchors.
        pre_nms_top_n: Proposals an image before suppression.
        post_nms_top_n: Most proposals an image after suppression.
        batch_size_per_image: Anchors an image that the losses are computed on.
    """

    def __init__(
        self,
        channels: int,
        anchor_sizes: Sequence[float],
        aspect_ratios: Sequence[float],
        *,
        pre_nms_top_n: int,
        post_nms_top_n: int,
        batch_size_per_image: int,
    ) -> None:
        super().__init__()
        self.anchor_generator = AnchorGenerator((tuple(anchor_sizes),), (tuple(aspect_ratios),))
        self.head = RPNHead(channels, len(anchor_sizes) * len(aspect_ratios))
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.batch_size_per_image = batch_size_per_image

    def forward(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict a score and a box for each anchor.

        Args:
            images: `Tensor[B, 1, H, W]`, for their size.
            features: `Tensor[B, C, h, w]`.

        Returns:
            Anchors `Tensor[N, 4]`, the same for all images; objectness logits `Tensor[B, N]`; and
            the encoded difference between proposal and anchor, `Tensor[B, N, 4]`.
        """
        # Both 1x1 convolutions of the head as one.
        heads = (self.head.cls_logits, self.head.bbox_pred)
        weight, bias = torch.cat([h.weight for h in heads]), torch.cat([h.bias for h in heads])
        predicted = F.conv2d(self.head.conv(features), weight, bias).permute(0, 2, 3, 1)
        logits, codes = predicted.split([h.out_channels for h in heads], dim=3)
        (anchors,) = self.anchor_generator(
            ImageList(images, [(images.shape[2], images.shape[3])]), [features]
        )
        # Channels of logits are anchors, those of codes are anchors times 4.
        codes = codes.reshape(images.shape[0], -1, 4)
        # In bfloat16, which mixed precision computes in, a box could be pixels off.
        return anchors.float(), logits.flatten(1).float(), codes.float()

    def propose(
        self, image_size: tuple[int, int], anchors: Tensor, logits: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Turn predictions into proposals, without gradient.

        Args:
            image_size: Height and width in pixels.
            anchors: From `forward`, like `logits` and `codes`.
            logits: Objectness logits.
            codes: Encoded differences.

        Returns:
            Proposals `Tensor[B, P, 4]`, highest score first, inside the image, and a mask
            `Tensor[B, P]` bool, false for padding.
        """
        logits, codes = logits.detach(), codes.detach()
        num = min(self.pre_nms_top_n, anchors.shape[0])
        indices = logits.topk(num).indices
        boxes = decode(pick(codes, indices), anchors[indices], CODE_WEIGHTS, image_size)
        keep = greedy_nms(boxes, is_larger(boxes, MIN_SIZE), NMS_IOU)
        positions, is_proposal = first_kept(keep, self.post_nms_top_n)
        return pick(boxes, positions) * is_proposal[..., None], is_proposal

    def losses(
        self, anchors: Tensor, logits: Tensor, codes: Tensor, digits: DigitBoxes
    ) -> dict[str, Tensor]:
        """Compute the losses on a random sample of anchors.

        Args:
            anchors: From `forward`, like `logits` and `codes`.
            logits: Objectness logits.
            codes: Encoded differences.
            digits: The digits of each image; an image may have none.

        Returns:
            `loss_objectness` and `loss_rpn_box_reg`, scalars.
        """
        digit_index, kind = match(
            anchors.expand(len(logits), -1, -1),
            digits.boxes,
            digits.is_digit,
            high=HIGH_IOU,
            low=LOW_IOU,
            best_always=True,
        )
        indices, is_drawn = sample(kind, self.batch_size_per_image, POSITIVE_FRACTION)
        num_drawn = is_drawn.sum().clamp(min=1)
        is_positive = (pick(kind, indices) == POSITIVE) & is_drawn
        objectness_loss = F.binary_cross_entropy_with_logits(
            pick(logits, indices), is_positive.float(), is_drawn.float(), reduction="sum"
        )
        wanted = pick(digits.boxes, pick(digit_index, indices))
        box_error = box_loss(
            pick(codes, indices), wanted, anchors[indices], is_positive, CODE_WEIGHTS
        )
        return {
            "loss_objectness": objectness_loss / num_drawn,
            "loss_rpn_box_reg": box_error / num_drawn,
        }
