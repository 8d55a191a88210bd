"""Measure how well a network reads pictures that were prepared in several ways.

    python -m docs.measure_preparation outputs/cnn/RUN/checkpoints/best.ckpt

prints the accuracy on pictures that choices are made on. With `--final FOLDER` it measures those
that are looked at once, when all is chosen; tests/inference/foreign_digits.py says what the folder
may hold.
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from tabulate import tabulate

from mnist_vision.data.mnist import load_split
from mnist_vision.inference import digit_image, ink, preparation
from mnist_vision.inference.picture_reading import Picture
from mnist_vision.models.classifier import DigitClassifier, predict
from mnist_vision.training.checkpoints import load_classifier
from tests.inference.foreign_digits import Digits, development_sources, final_sources
from tests.inference.photographs import development_set, final_set, skeleton

Pixels = NDArray[np.uint8]
Pictures = tuple[list[Pixels], NDArray[np.int64]]
Variant = Callable[[Pixels], Pixels]

SIZE = 28  # pixels a side
DIGIT_SIZE = 20
BATCH_SIZE = 500
NUM_LINES = 200


def main() -> None:
    """Print a table: a row for each variant, a column for each set of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--photographs", type=int, default=500, help="development photographs")
    parser.add_argument("--final", type=Path, metavar="FOLDER", help="measure the final sets")
    options = parser.parse_args()
    model = load_classifier(options.checkpoint)
    if options.final is None:
        sets = {"photographs": decoded(development_set(options.photographs))}
        sets["lines of 1 px"] = thin_lines(NUM_LINES)
        sources = development_sources()
    else:
        sets = {"photographs": decoded(final_set())}
        sources = final_sources(options.final)
    sets |= {name: as_pictures(digits) for name, digits in sources.items()}
    rows = [
        [name, *(f"{accuracy(model, variant, pictures):.1%}" for pictures in sets.values())]
        for name, variant in VARIANTS.items()
    ]
    headers = ["preparation", *(f"{name} ({len(labels)})" for name, (_, labels) in sets.items())]
    sys.stdout.write(tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n")


def decoded(photographs: list[tuple[bytes, int]]) -> Pictures:
    """Decode JPEGs to grey pixels."""
    images = [np.asarray(Image.open(io.BytesIO(jpeg)).convert("L")) for jpeg, _ in photographs]
    return images, np.array([label for _, label in photographs])


def thin_lines(num_images: int) -> Pictures:
    """Draw training digits with lines of one pixel, 448 pixels a side."""
    images, labels = load_split("~/.cache/mnist_vision", "train")
    lines = [skeleton(image) for image in images[-num_images:, 0].numpy()]
    return [(255 - 200 * line).astype(np.uint8) for line in lines], labels[-num_images:].numpy()


def as_pictures(digits: Digits) -> Pictures:
    """List the images of a source one by one."""
    return list(digits.images), digits.labels


@torch.inference_mode()
def accuracy(model: DigitClassifier, variant: Variant, pictures: Pictures) -> float:
    """Measure the share of pictures whose digit the network reads after a preparation."""
    images, labels = pictures
    prepared = torch.from_numpy(np.stack([variant(image) for image in images])).unsqueeze(1) / 255
    predictions = torch.cat([predict(model(batch)) for batch in prepared.split(BATCH_SIZE)])
    return float((predictions.numpy() == labels).mean())


def resized(grey: Pixels) -> Pixels:
    """Resize the whole picture, and do nothing else."""
    return np.asarray(Image.fromarray(grey).resize((SIZE, SIZE), Image.Resampling.BOX))


def simply_prepared(grey: Pixels) -> Pixels:
    """Take what one threshold parts from the border, 20 pixels long, and centre it by its mass."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    threshold = threshold_otsu(grey)
    mask = grey <= threshold if np.median(border) > threshold else grey > threshold
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    digit = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = DIGIT_SIZE / max(digit.shape)
    height, width = (max(1, round(scale * length)) for length in digit.shape)
    small = Image.fromarray(digit.astype(np.uint8) * 255)
    small = np.asarray(small.resize((width, height), Image.Resampling.BOX))
    canvas = np.zeros((3 * SIZE, 3 * SIZE), np.uint8)
    canvas[SIZE : SIZE + height, SIZE : SIZE + width] = small
    y, x = (round(centre) - SIZE // 2 for centre in ndimage.center_of_mass(canvas))
    return canvas[y : y + SIZE, x : x + SIZE]


def prepared(grey: Pixels) -> Pixels:
    """Prepare a picture as `predict` does; where no digit is found, the image is black."""
    digits = preparation.prepare(Picture(grey)).digits
    return digits[0].image if digits else np.zeros((SIZE, SIZE), np.uint8)


def without(module: ModuleType, name: str, substitute: Callable[..., Any]) -> Variant:
    """Make the variant with another function in place of a step."""

    def prepare(grey: Pixels) -> Pixels:
        with patch.object(module, name, substitute):
            return prepared(grey)

    return prepare


def ink_on_even_paper(pixels: Pixels) -> NDArray[np.float32]:
    """Take the border's median for the paper everywhere."""
    light = 255 - pixels.astype(np.float32)
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return np.clip(1 - light / max(np.median(border), 1), 0, 1)


def centred_by_box(digit: NDArray[np.float32]) -> tuple[Pixels, int, int]:
    """Put the box of a digit in the middle."""
    height, width = digit.shape
    row, column = (SIZE - height) // 2, (SIZE - width) // 2
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[row : row + height, column : column + width] = digit * 255 + 0.5
    return image, row, column


VARIANTS: dict[str, Variant] = {
    "resized to 28x28": resized,
    "Otsu, 20x20, centred by mass": simply_prepared,
    "all steps": prepared,
    "without the light evened out": without(preparation, "ink_of", ink_on_even_paper),
    "without the specks removed": without(ink, "remove_specks", lambda mask: mask),
    "without small pictures enlarged": without(preparation, "enlarge", lambda *args: args),
    "without the ink stretched": without(preparation, "sharpen", lambda ink, mask: ink * mask),
    "without thin strokes widened": without(digit_image, "widen_thin_strokes", lambda ink: ink),
    "centred by the box": without(digit_image, "centre_by_mass", centred_by_box),
}


if __name__ == "__main__":
    main()
