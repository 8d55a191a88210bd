"""The same network put together from torchvision's own modules, image by image.

What the whole-batch code is tested against, and measured against.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.ops import MultiScaleRoIAlign

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.mnist import PIXEL_MEAN, PIXEL_STD
from mnist_vision.detection import proposals, roi_heads
from mnist_vision.detection.roi_align import SAMPLES_PER_BIN

Targets = list[dict[str, Tensor]]


class _Backbone(nn.Module):
    """Gives a backbone the form that torchvision asks for."""

    def __init__(self, layers: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict({"0": self.layers(images)})


def assemble(
    backbone: nn.Module,
    rpn: proposals.RegionProposalNetwork,
    heads: roi_heads.RoIHeads,
    image_size: int,
) -> TorchvisionFasterRCNN:
    """Puts layers that a whole-batch network has into torchvision's, which then shares them.

    Args:
        backbone: Maps normalised images `[B, 1, H, W]` to features.
        rpn: The first stage.
        heads: The second stage.
        image_size: Side of the images, in pixels, so that they are not resized.
    """
    channels = rpn.head.cls_logits.in_channels
    return TorchvisionFasterRCNN(
        _Backbone(backbone, channels),
        min_size=image_size,
        max_size=image_size,
        size_divisible=1,
        image_mean=[PIXEL_MEAN],
        image_std=[PIXEL_STD],
        rpn_anchor_generator=rpn.anchor_generator,
        rpn_head=rpn.head,
        rpn_pre_nms_top_n_train=rpn.num_before_nms,
        rpn_pre_nms_top_n_test=rpn.num_before_nms,
        rpn_post_nms_top_n_train=rpn.num_proposals,
        rpn_post_nms_top_n_test=rpn.num_proposals,
        rpn_nms_thresh=proposals.NMS_IOU,
        rpn_fg_iou_thresh=proposals.HIGH_IOU,
        rpn_bg_iou_thresh=proposals.LOW_IOU,
        rpn_batch_size_per_image=rpn.num_sampled,
        rpn_positive_fraction=proposals.POSITIVE_FRACTION,
        box_roi_pool=MultiScaleRoIAlign(["0"], heads.roi_size, SAMPLES_PER_BIN),
        box_head=heads.box_head,
        box_predictor=heads.box_predictor,
        box_score_thresh=heads.score_threshold,
        box_nms_thresh=heads.nms_iou,
        box_detections_per_img=heads.num_detections,
        box_fg_iou_thresh=roi_heads.POSITIVE_IOU,
        box_bg_iou_thresh=roi_heads.POSITIVE_IOU,
        box_batch_size_per_image=heads.num_sampled,
        box_positive_fraction=heads.positive_fraction,
    )


def as_targets(digits: DigitBoxes) -> Targets:
    """Digits as torchvision's detectors take them: a dictionary an image; 0 is the background."""
    return [
        {"boxes": boxes[labels >= 0], "labels": labels[labels >= 0] + 1}
        for boxes, labels in zip(digits.boxes, digits.labels, strict=True)
    ]


def losses(network: TorchvisionFasterRCNN, images: Tensor, digits: DigitBoxes) -> dict[str, Tensor]:
    """The four losses of a batch `[B, 1, H, W]`."""
    terms: dict[str, Tensor] = network.train()(list(images), as_targets(digits))
    return terms


@torch.no_grad()
def detect(network: TorchvisionFasterRCNN, images: Tensor) -> list[dict[str, Tensor]]:
    """Boxes, scores and labels, made digits, of each image of a batch `[B, 1, H, W]`."""
    found = network.eval()(list(images))
    return [each | {"labels": each["labels"] - 1} for each in found]
