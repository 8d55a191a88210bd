"""Read the digits of pictures with one trained network, or with several."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_vision.data.constants import (
    IMAGE_SIZE,
    NUM_CLASSES,
    SAME_PLACE_IOU,
    SEQUENCE_SCORE,
)
from mnist_vision.evaluation.attribution_pictures import draw_explanation, overlay
from mnist_vision.inference.loading import load_network
from mnist_vision.inference.network import (
    Detections,
    ExplainableNetwork,
    Images,
    Network,
    Outputs,
)
from mnist_vision.inference.picture_reading import Pixels, Source, read_picture
from mnist_vision.inference.preparation import CANVAS_MARGIN, Box, PreparedPicture, View, prepare


@dataclass(frozen=True, eq=False)
class Prediction:
    """A digit that was read in a picture.

    Args:
        digit: 0 to 9.
        confidence: The calibrated probability of `digit`.
        probabilities: `[10]` float32, calibrated; their sum is 1.
        box: Of the digit in the picture: x1, y1, x2, y2 in pixels; a detector's box if there is
            one, or else that of the ink.
        shown: `[H, W]` uint8: what the network was shown, white on black; 28x28, but for a digit
            that a detector found in a scene.
    """

    digit: int
    confidence: float
    probabilities: NDArray[np.float32]
    box: Box
    shown: Pixels


class Predictor:
    """Reads digits with a network or, with several, by the mean of their probabilities.

    Args:
        networks: At least one.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    @property
    def name(self) -> str:
        """The architecture, or the architectures joined by "+"."""
        return "+".join(network.architecture for network in self._networks)

    @property
    def gives_boxes(self) -> bool:
        """True if at least one network is a detector."""
        blank = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        return any(_run(network, blank).detections is not None for network in self._networks)

    def __call__(self, picture: Source) -> Prediction | None:
        """Read the digit of a picture.

        Args:
            picture: A path, the bytes of a file, a Pillow image or an array; see `read_picture`.

        Returns:
            What was read; None if there is no digit.

        Raises:
            UserError: If the picture cannot be read.
        """
        (found,) = self.answer([prepare(read_picture(picture))])
        return found[0] if found else None

    def read(self, picture: Source) -> list[Prediction]:
        """Read several digits of a picture; see `__call__`.

        They are in the order of lines and from left to right; those that a network for scenes finds
        are from left to right alone.
        """
        (found,) = self.answer([prepare(read_picture(picture), several=True)])
        return found

    def answer(self, pictures: Sequence[PreparedPicture]) -> list[list[Prediction]]:
        """Read the digits of prepared pictures.

        Returns:
            The digits of each picture; none where there is no ink, or no network finds a digit.
        """
        scenes = [picture.scene for picture in pictures]
        if len(self._networks) == 1 and self._networks[0].is_for_scenes and any(scenes):
            return [self._read_scene(scene) for scene in scenes]
        views = [view for picture in pictures for view in picture.digits]
        predictions = iter(self._classify(views) if views else [])
        answers = [[next(predictions) for _ in picture.digits] for picture in pictures]
        return [[each for each in answer if each is not None] for answer in answers]

    @property
    def obstacle(self) -> str | None:
        """Why `explain` cannot work, and what to use instead; None if it can."""
        if len(self._networks) > 1:
            return "one network is explained at a time; give one file"
        (network,) = self._networks
        if not isinstance(network, ExplainableNetwork):
            return "needs a checkpoint: an ONNX file has no gradients"
        return network.obstacle

    def explain(self, predictions: Sequence[Prediction]) -> list[Pixels]:
        """Draw where the network looked, in what it was shown.

        Args:
            predictions: From this predictor, which has no `obstacle`.

        Returns:
            For each a digit, its Grad-CAM and its integrated gradients side by side,
            `[28, 88, 3]` uint8, RGB.
        """
        if not predictions:
            return []
        shown = [found.shown for found in predictions]
        network, images, digits = self._what_was_read(predictions)
        maps = network.explain(images, digits)
        parts = zip(shown, maps.grad_cam, maps.integrated_gradients, strict=True)
        return [draw_explanation(*each) for each in parts]

    def draw_heat(self, predictions: Sequence[Prediction]) -> list[Pixels]:
        """Draw Grad-CAM over what the network was shown, `[28, 28, 3]` uint8; see `explain`."""
        if not predictions:
            return []
        network, images, digits = self._what_was_read(predictions)
        heat = network.grad_cam(images, digits)
        return [overlay(found.shown, each) for found, each in zip(predictions, heat, strict=True)]

    def _what_was_read(
        self, predictions: Sequence[Prediction]
    ) -> tuple[ExplainableNetwork, Images, NDArray[np.int64]]:
        """Return the network, its images `[B, 1, 28, 28]`, and the digits `[B]` it read."""
        (network,) = self._networks
        assert isinstance(network, ExplainableNetwork)
        images = np.stack([found.shown for found in predictions])
        digits = np.array([found.digit for found in predictions])
        return network, _to_unit_range(images), digits

    def _classify(self, views: Sequence[View]) -> list[Prediction | None]:
        """Classify digits; None for those that every network misses."""
        images = np.stack([view.image for view in views])
        outputs = [_run(network, images) for network in self._networks]
        probabilities = np.stack([each.probabilities for each in outputs]).mean(axis=0)
        is_missed = np.all([each.is_missed for each in outputs], axis=0)
        detections = next((each.detections for each in outputs if each.detections), None)
        predictions: list[Prediction | None] = []
        for index, view in enumerate(views):
            digit = int(probabilities[index].argmax())
            confidence = float(probabilities[index, digit])
            box = _box_of(digit, view, detections[index]) if detections else view.box
            found = Prediction(digit, confidence, probabilities[index], box, view.image)
            predictions.append(None if is_missed[index] else found)
        return predictions

    def _read_scene(self, scene: View | None) -> list[Prediction]:
        """Read the digits that a detector finds in a view."""
        if scene is None:
            return []
        outputs = self._networks[0](_to_unit_range(scene.image[None]))
        assert outputs.detections is not None
        (found,) = outputs.detections
        predictions = []
        for box, scores in _places(found):
            powers = scores ** (1 / outputs.temperature)
            probabilities = powers / powers.sum()
            digit = int(probabilities.argmax())
            x1, y1, x2, y2 = box.round().astype(int)
            shown = scene.image[max(y1, 0) : y2, max(x1, 0) : x2]
            predictions.append(
                Prediction(
                    digit,
                    float(probabilities[digit]),
                    probabilities,
                    scene.to_picture(box),
                    shown,
                )
            )
        return sorted(predictions, key=lambda each: each.box[0] + each.box[2])


def load_predictor(*paths: str | os.PathLike[str]) -> Predictor:
    """Load trained networks.

    Args:
        paths: Checkpoints or ONNX files; of several, the mean of their probabilities counts.

    Raises:
        UserError: If a file is missing, corrupt, or not one of this program.
    """
    if not paths:
        raise TypeError("load_predictor needs the path of a checkpoint or of an ONNX file")
    return Predictor([load_network(path) for path in paths])


def _run(network: Network, images: Pixels) -> Outputs:
    """Classify images `[B, 28, 28]`; a network for scenes sees each on a larger canvas."""
    if not network.is_for_scenes:
        return network(_to_unit_range(images))
    margin = CANVAS_MARGIN
    outputs = network(_to_unit_range(np.pad(images, ((0, 0), (margin,) * 2, (margin,) * 2))))
    moved = [
        Detections(each.boxes - margin, each.labels, each.scores)
        for each in outputs.detections or []
    ]
    return Outputs(outputs.probabilities, outputs.is_missed, moved or None)


def _to_unit_range(images: Pixels) -> NDArray[np.float32]:
    """Convert bytes `[B, H, W]` to what networks take: `[B, 1, H, W]` in [0, 1]."""
    scaled: NDArray[np.float32] = images[:, None].astype(np.float32)
    scaled /= 255
    return scaled


def _box_of(digit: int, view: View, detections: Detections) -> Box:
    """Get the best box of a digit in the picture, or that of the ink if there is none."""
    boxes = detections.boxes[detections.labels == digit]
    return view.to_picture(boxes[0]) if len(boxes) else view.box


def _places(found: Detections) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Group the boxes of a scene by place: the best box there, and the best score of each digit.

    A detector suppresses the boxes of each digit alone, so a place may have boxes of several.
    """
    places: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        for best, scores in places:
            if _iou(best, box) > SAME_PLACE_IOU:
                scores[label] = max(scores[label], score)
                break
        else:
            if score >= SEQUENCE_SCORE:
                scores = np.zeros(NUM_CLASSES, np.float32)
                scores[label] = score
                places.append((box, scores))
    return places


def _iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Compute the intersection over union of two boxes `[4]`."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod((high - low).clip(0)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return shared / max(areas - shared, 1e-9)
