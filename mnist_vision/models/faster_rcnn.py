"""Faster R-CNN: propose regions that may hold a digit, then classify them."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision
from torchvision.ops import roi_align

from mnist_vision.common.checks import Count, Positive, Share, checked
from mnist_vision.common.errors import FieldError
from mnist_vision.data.boxes import DigitBoxes, locate
from mnist_vision.data.constants import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import Assessment, DigitClassifier, Stage
from mnist_vision.models.detection.metrics import (
    as_dicts,
    is_sequence_right,
    mean_average_precision,
    read,
)
from mnist_vision.models.detection.roi_heads import Candidates, Detections, RoIHeads
from mnist_vision.models.detection.rpn import RegionProposalNetwork
from mnist_vision.models.max_pool import MaxPool2x2
from mnist_vision.models.standardization import standardize

STRIDE = 4  # the backbone's: pixels per feature-map cell
PositiveNumbers = Annotated[Sequence[Positive], Field(min_length=1, max_length=20)]


class FasterRCNN(DigitClassifier):
    """A two-stage detector sized for digits; the box of the highest score classifies an image.

    It is trained on single digits, whose boxes are those of their ink, or on scenes of several.
    Images may have any size of at least 8 pixels a side.

    An image without ink has no digit and is all background in training. In evaluation an image
    without a box of a score above `box_score_thresh` is missed: its scores are all minus infinity,
    which is wrong whatever the target.

    Source: S. Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497.

    Args:
        widths: Channels of the backbone's stages, each a 3x3 convolution, batch normalisation and
            ReLU; the first two end in a 2x2 max pooling. 2 to 8 stages of at least 1 channel.
        anchor_sizes: Square roots of the areas of anchors, in pixels: 1 to 20 numbers, large
            enough that no side of an anchor is below a pixel.
        aspect_ratios: Heights over widths of anchors: 1 to 20 numbers above 0.
        rpn_pre_nms_top_n: Proposals an image before suppression, at least 1.
        rpn_post_nms_top_n: Most proposals an image after suppression, at least 1.
        rpn_batch_size_per_image: Anchors an image that the losses of the first stage are computed
            on, at least 1.
        box_batch_size_per_image: Proposals an image that the losses of the second stage are
            computed on, at least 1.
        box_positive_fraction: Largest share of these that may be digits, above 0, at most 1.
        roi_size: Side of the grid that the features of a proposal are pooled to, 1 to 14.
        hidden: Units of each of the two hidden layers of the second stage, at least 1.
        box_score_thresh: Boxes of this score or less are dropped, 0 to 0.999.
        box_nms_thresh: IoU above which the worse of two boxes of one digit is dropped, 0 to 1.
        box_detections_per_img: Most boxes an image from `detect`, at least 1.
        standardize_images: Whether each image first gets the mean and the standard deviation of
            MNIST's pixels, so that brightness and contrast do not matter.

    Raises:
        FieldError: If an argument is outside its range.
    """

    reads_scenes = True

    @checked
    def __init__(
        self,
        widths: Annotated[Sequence[Count], Field(min_length=2, max_length=8)] = (16, 32, 64, 64),
        anchor_sizes: PositiveNumbers = (14, 20),
        aspect_ratios: PositiveNumbers = (0.5, 1.0, 2.0),
        rpn_pre_nms_top_n: Count = 64,
        rpn_post_nms_top_n: Count = 16,
        rpn_batch_size_per_image: Count = 32,
        box_batch_size_per_image: Count = 16,
        box_positive_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5,
        roi_size: Annotated[int, Field(ge=1, le=14)] = 5,
        hidden: Count = 128,
        box_score_thresh: Annotated[float, Field(ge=0, le=0.999)] = 0.05,
        box_nms_thresh: Share = 0.5,
        box_detections_per_img: Count = 10,
        standardize_images: bool = True,
    ) -> None:
        super().__init__()
        # torchvision rounds half the side of an anchor: a side of one pixel would become zero.
        narrowest = min(anchor_sizes) * min(min(r, 1 / r) for r in aspect_ratios) ** 0.5
        if narrowest <= 1:
            raise FieldError("anchor_sizes", list(anchor_sizes), "must give sides above 1 px")
        self.save_hyperparameters(logger=False)

        self.backbone = _backbone(widths)
        self.rpn = RegionProposalNetwork(
            widths[-1],
            anchor_sizes,
            aspect_ratios,
            pre_nms_top_n=rpn_pre_nms_top_n,
            post_nms_top_n=rpn_post_nms_top_n,
            batch_size_per_image=rpn_batch_size_per_image,
        )
        self.roi_heads = RoIHeads(
            widths[-1],
            roi_size=roi_size,
            hidden=hidden,
            batch_size_per_image=box_batch_size_per_image,
            positive_fraction=box_positive_fraction,
            score_thresh=box_score_thresh,
            nms_thresh=box_nms_thresh,
            detections_per_img=box_detections_per_img,
        )
        # Pixels stored next to their channels: the layout that convolutions on a CPU are fast in.
        self.to(memory_format=torch.channels_last)
        self.train_mean_iou = MeanMetric()
        self.val_mean_iou = MeanMetric()
        self.test_mean_iou = MeanMetric()
        self.sequence_accuracy = MeanMetric()
        self.average_precision: MeanAveragePrecision | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Score the digits of images.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            `Tensor[B, 10]`: the logarithm of the highest score of the boxes of each digit; minus
            infinity without a box.
        """
        return _image_scores(self._candidates(images))

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the scores and the boxes of images, in one pass.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            `scores` `[B, 10]` as from `forward`, and the fields of `Detections`: `boxes`
            `[B, D, 4]`, `labels` `[B, D]`, and its scores as `box_scores` `[B, D]`.
        """
        candidates = self._candidates(images)
        found = self.roi_heads.select(candidates)
        return {
            "scores": _image_scores(candidates),
            "boxes": found.boxes,
            "labels": found.labels,
            "box_scores": found.scores,
        }

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Find the digits in each image.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            For each image `boxes` `[D, 4]` (x1, y1, x2, y2 in pixels), `labels` `[D]` int64 in
            0..9, and `scores` `[D]` in [0, 1], the highest first. D may be 0.
        """
        return as_dicts(self.roi_heads.select(self._candidates(images)))

    def find_targets(self, images: Tensor, targets: Tensor | DigitBoxes) -> DigitBoxes:
        """Find the boxes of digits: those of single digits are those of their ink."""
        return locate(images, targets)

    @property
    def attribution_layer(self) -> nn.Module:
        """The backbone's last convolution; those of the proposals come later."""
        return [each for each in self.backbone.modules() if isinstance(each, nn.Conv2d)][-1]

    @torch.no_grad()
    def regions(self, images: Tensor) -> tuple[Tensor, ...]:
        """Propose boxes `[B, P, 4]`, and say which are padding: `[B, P]` bool, false for those."""
        return self._propose(images, self._features(images))

    def evidence(self, images: Tensor, *regions: Tensor) -> Tensor:
        """Compute the logarithm of the highest score of each digit over proposals held fixed.

        Unlike in `forward`, no score is dropped for being low: it is finite, with a gradient.
        """
        proposals, is_proposal = regions
        logits, _ = self.roi_heads(self._features(images), proposals, 1 / STRIDE)
        scores: Tensor = logits.log_softmax(dim=-1)[..., 1:]
        # Padding has the lowest score that there is, not minus infinity, which has no gradient.
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~is_proposal[..., None], lowest).amax(dim=1)

    def losses(self, images: Tensor, targets: Tensor | DigitBoxes) -> dict[str, Tensor]:
        """Compute the four losses of Faster R-CNN, by torchvision's names.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].
            targets: The digit of each image, `Tensor[B]` int64, whose box is that of the ink; or
                all digits of scenes with their boxes.
        """
        digits = locate(images, targets)
        features = self._features(images)
        anchors, logits, codes = self.rpn(images, features)
        proposals, is_proposal = self.rpn.propose(_size(images), anchors, logits, codes)
        return self.rpn.losses(anchors, logits, codes, digits) | self.roi_heads.losses(
            features, 1 / STRIDE, proposals, is_proposal, digits
        )

    def assess(self, batch: Any, stage: Stage) -> Assessment:
        """Score single digits by image and scenes by digit; log the metrics of boxes."""
        images, targets = batch
        candidates = self._candidates(images)
        digits = locate(images, targets)
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

    def on_test_start(self) -> None:
        """Start to collect boxes for the mean average precision."""
        self.average_precision = mean_average_precision()

    def on_test_epoch_end(self) -> None:
        """Log mean average precision, as COCO defines it: over all IoU thresholds, and at 0.5."""
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
        if self.hparams["standardize_images"]:
            images = standardize(images)
        features: Tensor = self.backbone((images - PIXEL_MEAN) / PIXEL_STD)
        return features

    def _propose(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.rpn.propose(_size(images), *self.rpn(images, features))

    def _candidates(self, images: Tensor) -> Candidates:
        features = self._features(images)
        proposals, is_proposal = self._propose(images, features)
        return self.roi_heads.candidates(
            features, 1 / STRIDE, proposals, is_proposal, _size(images)
        )


def _backbone(widths: Sequence[int]) -> nn.Sequential:
    stages: list[nn.Module] = []
    channels = 1
    for index, width in enumerate(widths):
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
        if index < 2:
            layers.append(MaxPool2x2())
        stages.append(nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
        channels = width
    return nn.Sequential(*stages)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _image_scores(candidates: Candidates) -> Tensor:
    return candidates.scores.amax(dim=1).log()
