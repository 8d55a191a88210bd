"""Turn what a network computes into `Outputs`. Importing it does not import torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.inference.network import Detections, Outputs


def read_outputs(arrays: Mapping[str, NDArray[Any]], temperature: float = 1.0) -> Outputs:
    """Turn what a network computes into calibrated probabilities and boxes.

    Args:
        arrays: Named as in `DigitClassifier.outputs`.
        temperature: Of the network; it divides the scores.
    """
    scores: NDArray[Any] = arrays["scores"] / np.float32(temperature)
    is_missed = ~np.isfinite(scores).any(axis=1)
    scores = np.where(is_missed[:, None], np.float32(0), scores)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    detections = None
    if "boxes" in arrays:
        rows = zip(arrays["boxes"], arrays["labels"], arrays["box_scores"], strict=True)
        detections = [
            Detections(boxes[labels >= 0], labels[labels >= 0], box_scores[labels >= 0])
            for boxes, labels, box_scores in rows
        ]
    return Outputs(probabilities, is_missed, detections, temperature)
