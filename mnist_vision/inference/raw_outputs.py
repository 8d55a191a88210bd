"""Turn what a network computes into `Outputs`. Importing it does not import torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.inference.network import Detections, Outputs


def read_outputs(arrays: Mapping[str, NDArray[Any]]) -> Outputs:
    """Turn arrays, named as in `DigitClassifier.outputs`, into probabilities and boxes."""
    scores = arrays["scores"]
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
    return Outputs(probabilities, is_missed, detections)
