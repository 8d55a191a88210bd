"""Faster R-CNN: finds digits as regions of interest, then reads them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import roi_align
from torchvision.utils import draw_bounding_boxes, make_grid

from mnist_vision.common.errors import FieldError, check_list, check_real, check_whole
from mnist_vision.data.boxes import DigitBoxes, label_ink
from mnist_vision.data.mnist import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import Assessment, DigitClassifier, Stage
from mnist_vision.models.detection.metrics import (
    as_dicts,
    is_sequence_right,
    mean_average_precision,
    read,
)
from mnist_vision.models.detection.roi_heads import Candidates, Detections, RoIHeads
from mnist_vision.models.detection.rpn import RegionProposalNetwork

STRIDE = 4  # the backbone's: pixels a feature position
PICTURE_SIDE = 320


class FasterRCNN(DigitClassifier):
    """A two-stage detector sized for digits, which classifies an image by its surest box.

    Trained on single digits, whose boxes are those of their ink, or on scenes of several
    (`data=mnist_scenes`). Images may have any size of at least 8 pixels a side, whatever the sizes
    it was trained on.

    An image without ink has no digit: in training all of it is background. In evaluation an image
    in which no box scores above `score_threshold` is missed: its scores are all minus infinity,
    which is wrong whatever the target.

    Source: S. Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497.

    Args:
        widths: Channels of the backbone's stages, each a 3x3 convolution, batch normalisation and
            ReLU; the first two end in a 2x2 max pooling. 2 to 8 stages of at least 1 channel.
        anchor_sizes: Square roots of the areas of anchors, in pixels: 1 to 20 numbers, large
            enough that no side of an anchor is below a pixel.
        aspect_ratios: Heights over widths of anchors: 1 to 20 numbers above 0.
        num_before_nms: Proposals an image that suppression looks at, at least 1.
        num_proposals: Most proposals an image that are looked into, at least 1.
        num_sampled_anchors: Anchors an image that the first stage learns from, at least 1.
        num_sampled_proposals: Proposals an image that the second stage learns from, at least 1.
        positive_fraction: Largest share of these that may be digits, above 0, at most 1.
        roi_size: Side of the grid of features the second stage sees of a proposal, 1 to 14.
        hidden: Units of each of its two hidden layers, at least 1.
        score_threshold: A box counts if its score is above it, 0 to 0.999.
        nms_iou: IoU above which the worse of two boxes of one digit is dropped, 0 to 1.
        num_detections: Most boxes an image that `detect` gives, at least 1.

    Raises:
        FieldError: If an argument is outside its range.
    """

    reads_scenes = True

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 64),
        anchor_sizes: Sequence[float] = (14, 20),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        num_before_nms: int = 64,
        num_proposals: int = 16,
        num_sampled_anchors: int = 32,
        num_sampled_proposals: int = 16,
        positive_fraction: float = 0.5,
        roi_size: int = 5,
        hidden: int = 128,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        num_detections: int = 10,
    ) -> None:
        super().__init__()
        for name, values in {"anchor_sizes": anchor_sizes, "aspect_ratios": aspect_ratios}.items():
            check_list(name, values, 1, 20, "numbers")
            for value in values:
                check_real(name, value, 0, open_low=True)
        # torchvision rounds the halves of an anchor's sides: a side of a pixel would become none.
        narrowest = min(anchor_sizes) * min(min(r, 1 / r) for r in aspect_ratios) ** 0.5
        if narrowest <= 1:
            raise FieldError(
                "anchor_sizes", list(anchor_sizes), "large enough for sides above 1 px"
            )
        check_list("widths", widths, 2, 8, "whole numbers")
        for width in widths:
            check_whole("widths", width, 1)
        counts = {
            "num_before_nms": num_before_nms,
            "num_proposals": num_proposals,
            "num_sampled_anchors": num_sampled_anchors,
            "num_sampled_proposals": num_sampled_proposals,
            "hidden": hidden,
            "num_detections": num_detections,
        }
        for name, count in counts.items():
            check_whole(name, count, 1)
        check_real("positive_fraction", positive_fraction, 0, 1, open_low=True)
        check_whole("roi_size", roi_size, 1, 14)
        check_real("score_threshold", score_threshold, 0, 0.999)
        check_real("nms_iou", nms_iou, 0, 1)
        self.save_hyperparameters(logger=False)

        self.backbone = _backbone(widths)
        self.rpn = RegionProposalNetwork(
            widths[-1],
            anchor_sizes,
            aspect_ratios,
            num_before_nms=num_before_nms,
            num_proposals=num_proposals,
            num_sampled=num_sampled_anchors,
        )
        self.roi_heads = RoIHeads(
            widths[-1],
            roi_size=roi_size,
            hidden=hidden,
            num_sampled=num_sampled_proposals,
            positive_fraction=positive_fraction,
            score_threshold=score_threshold,
            nms_iou=nms_iou,
            num_detections=num_detections,
        )
        # Pixels stored next to their channels: the layout that convolutions on a CPU are fast in.
        self.to(memory_format=torch.channels_last)
        self.train_mean_iou = MeanMetric()
        self.val_mean_iou = MeanMetric()
        self.test_mean_iou = MeanMetric()
        self.sequence_accuracy = MeanMetric()
        self.average_precision: MeanAveragePrecision | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to scores.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            `Tensor[B, 10]`: for each digit the logarithm of its best box's score; minus infinity
            where it has no box.
        """
        return _image_scores(self._candidates(images))

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Finds the digits in each image.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            For each image `boxes` `[D, 4]` (x1, y1, x2, y2 in pixels), `labels` `[D]` int64, the
            digits 0..9 themselves, and `scores` `[D]` in [0, 1], the surest first. D may be 0.
        """
        return as_dicts(self.roi_heads.select(self._candidates(images)))

    def losses(self, images: Tensor, targets: Tensor | DigitBoxes) -> dict[str, Tensor]:
        """The four losses of Faster R-CNN, by torchvision's names.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].
            targets: The digit in each image, `Tensor[B]` int64, its box being that of the ink; or
                all digits of scenes with their boxes.
        """
        digits = _digits(images, targets)
        features = self._features(images)
        anchors, logits, codes = self.rpn(images, features)
        proposals, is_proposal = self.rpn.propose(_size(images), anchors, logits, codes)
        return self.rpn.losses(anchors, logits, codes, digits) | self.roi_heads.losses(
            features, 1 / STRIDE, proposals, is_proposal, digits
        )

    def assess(self, batch: Any, stage: Stage) -> Assessment:
        """Scores single digits by image, and scenes by digit; measures boxes on the way."""
        images, targets = batch
        candidates = self._candidates(images)
        digits = _digits(images, targets)
        scores, iou = read(candidates, digits)
        mean_iou = getattr(self, f"{stage}_mean_iou")
        mean_iou.update(iou[digits.is_digit])
        self.log(f"{stage}/mean_iou", mean_iou, on_epoch=True, add_dataloader_idx=False)
        if stage == "test":
            self._assess_detections(self.roi_heads.select(candidates), digits)
        if isinstance(targets, Tensor):
            return Assessment(_image_scores(candidates), targets, images)
        is_digit = digits.is_digit
        crops = roi_align(images, list(digits.boxes), IMAGE_SIZE, aligned=True)
        crops = crops.unflatten(0, is_digit.shape)
        return Assessment(scores[is_digit].log(), digits.labels[is_digit], crops[is_digit])

    def pictures(self, batch: Any) -> dict[str, Tensor]:
        """A grid of images with true boxes (green) and those found (red), labelled."""
        images, targets = batch
        was_training = self.training
        found = self.eval().detect(images)
        self.train(was_training)
        true = as_dicts(_digits(images, targets))
        shown = [_draw(*each) for each in zip(images.cpu(), true, found, strict=True)]
        return {"test/boxes": make_grid(torch.stack(shown), nrow=4, pad_value=128)}

    def on_test_start(self) -> None:
        """Starts collecting boxes for the mean average precision."""
        self.average_precision = mean_average_precision()

    def on_test_epoch_end(self) -> None:
        """Logs mean average precision, as COCO defines it: all IoU thresholds, and 0.5 alone."""
        assert self.average_precision is not None
        values = self.average_precision.compute()
        self.log_dict({"test/mAP": values["map"], "test/mAP@0.5": values["map_50"]})
        self.average_precision = None

    def _assess_detections(self, detections: Detections, digits: DigitBoxes) -> None:
        assert self.average_precision is not None
        self.average_precision.update(as_dicts(detections), as_dicts(digits))
        self.sequence_accuracy.update(is_sequence_right(detections, digits).float())
        self.log("test/sequence_accuracy", self.sequence_accuracy, on_epoch=True)

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone((images - PIXEL_MEAN) / PIXEL_STD)
        return features

    def _candidates(self, images: Tensor) -> Candidates:
        features = self._features(images)
        proposals, is_proposal = self.rpn.propose(_size(images), *self.rpn(images, features))
        return self.roi_heads.candidates(
            features, 1 / STRIDE, proposals, is_proposal, _size(images)
        )


def _backbone(widths: Sequence[int]) -> nn.Sequential:
    stages: list[nn.Module] = []
    channels = 1
    for index, width in enumerate(widths):
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        if index < 2:
            layers.append(nn.MaxPool2d(2))
        stages.append(nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
        channels = width
    return nn.Sequential(*stages)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _digits(images: Tensor, targets: Tensor | DigitBoxes) -> DigitBoxes:
    return label_ink(images, targets) if isinstance(targets, Tensor) else targets


def _image_scores(candidates: Candidates) -> Tensor:
    return candidates.scores.amax(dim=1).log()


def _draw(image: Tensor, true: dict[str, Tensor], found: dict[str, Tensor]) -> Tensor:
    """An image with boxes in it, `[3, PICTURE_SIDE, PICTURE_SIDE]` uint8."""
    size = [PICTURE_SIDE, PICTURE_SIDE]
    height, width = image.shape[-2:]
    zoom = torch.tensor([PICTURE_SIDE / width, PICTURE_SIDE / height]).repeat(2)
    picture = F.interpolate(image[None], size).mul(255).byte()[0].expand(3, -1, -1)
    true_names = [f"{int(label)}" for label in true["labels"]]
    found_names = [
        f"{int(label)} {float(score):.0%}"
        for label, score in zip(found["labels"], found["scores"], strict=True)
    ]
    # The true digit left of its box, the found one right of its.
    for boxes, names, colour, (side, offset) in (
        (true["boxes"].cpu() * zoom, true_names, "lime", (0, -14)),
        (found["boxes"].cpu() * zoom, found_names, "red", (2, 2)),
    ):
        if len(boxes):
            picture = draw_bounding_boxes(picture, boxes, colors=colour, width=2)
            corner = boxes[:, [side, 1]] + torch.tensor([offset, -2])
            picture = _write(picture, corner, names, colour)
    return picture


def _write(picture: Tensor, corners: Tensor, names: list[str], colour: str) -> Tensor:
    """Puts words into a picture, each at its corner, `Tensor[N, 2]` (x, y): labels of no boxes."""
    corners = corners.clamp(min=0, max=PICTURE_SIDE - 1)
    boxes = torch.cat([corners, corners], dim=1)
    written: Tensor = draw_bounding_boxes(
        picture, boxes, names, colour, width=0, label_colors=colour
    )
    return written
