"""Our Faster R-CNN assembled from torchvision's modules, which work image by image.

The tests compare our whole-batch code with it, and the benchmark measures both.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.ops import MultiScaleRoIAlign

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.constants import PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.detection import roi_heads, rpn
from mnist_vision.models.detection.roi_align import SAMPLES_PER_BIN

Targets = list[dict[str, Tensor]]


class _Backbone(nn.Module):
    """Wrap a backbone in the interface that torchvision expects."""

    def __init__(self, layers: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict({"0": self.layers(images)})


def assemble(
    backbone: nn.Module,
    first_stage: rpn.RegionProposalNetwork,
    second_stage: roi_heads.RoIHeads,
    image_size: int,
) -> TorchvisionFasterRCNN:
    """Build torchvision's Faster R-CNN from the layers of ours; both share their weights.

    Args:
        backbone: Maps normalised images `[B, 1, H, W]` to features.
        first_stage: The region proposal network.
        second_stage: The heads that classify the proposals.
        image_size: Side of the images in pixels; torchvision then does not resize them.
    """
    channels = first_stage.head.cls_logits.in_channels
    return TorchvisionFasterRCNN(
        _Backbone(backbone, channels),
        min_size=image_size,
        max_size=image_size,
        size_divisible=1,
        image_mean=[PIXEL_MEAN],
        image_std=[PIXEL_STD],
        rpn_anchor_generator=first_stage.anchor_generator,
        rpn_head=first_stage.head,
        rpn_pre_nms_top_n_train=first_stage.pre_nms_top_n,
        rpn_pre_nms_top_n_test=first_stage.pre_nms_top_n,
        rpn_post_nms_top_n_train=first_stage.post_nms_top_n,
        rpn_post_nms_top_n_test=first_stage.post_nms_top_n,
        rpn_nms_thresh=rpn.NMS_IOU,
        rpn_fg_iou_thresh=rpn.HIGH_IOU,
        rpn_bg_iou_thresh=rpn.LOW_IOU,
        rpn_batch_size_per_image=first_stage.batch_size_per_image,
        rpn_positive_fraction=rpn.POSITIVE_FRACTION,
        box_roi_pool=MultiScaleRoIAlign(["0"], second_stage.roi_size, SAMPLES_PER_BIN),
        box_head=second_stage.box_head,
        box_predictor=second_stage.box_predictor,
        box_score_thresh=second_stage.score_thresh,
        box_nms_thresh=second_stage.nms_thresh,
        box_detections_per_img=second_stage.detections_per_img,
        box_fg_iou_thresh=roi_heads.POSITIVE_IOU,
        box_bg_iou_thresh=roi_heads.POSITIVE_IOU,
        box_batch_size_per_image=second_stage.batch_size_per_image,
        box_positive_fraction=second_stage.positive_fraction,
    )


def as_targets(digits: DigitBoxes) -> Targets:
    """Convert digits to the targets of torchvision's detectors; there label 0 is the background."""
    return [
        {"boxes": boxes[labels >= 0], "labels": labels[labels >= 0] + 1}
        for boxes, labels in zip(digits.boxes, digits.labels, strict=True)
    ]


def losses(network: TorchvisionFasterRCNN, images: Tensor, digits: DigitBoxes) -> dict[str, Tensor]:
    """Compute the four losses of a batch `[B, 1, H, W]`."""
    terms: dict[str, Tensor] = network.train()(list(images), as_targets(digits))
    return terms


@torch.no_grad()
def detect(network: TorchvisionFasterRCNN, images: Tensor) -> list[dict[str, Tensor]]:
    """Detect the digits of a batch `[B, 1, H, W]`: boxes, scores and labels 0..9 of each image."""
    detections = network.eval()(list(images))
    return [each | {"labels": each["labels"] - 1} for each in detections]
