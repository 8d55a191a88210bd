"""Make the picture of docs/robustness.md: ten test digits under each corruption.

Needs the files of MNIST, which training downloads:

    python -m docs.make_corruption_pictures
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mnist_vision.data.mnist import load_split
from mnist_vision.evaluation.corruptions.suite import SUITES, corrupt

ZOOM = 2  # pixels of the picture for one of a digit
GAP = 4
NAMES_WIDTH = 150
TEXT_SIZE = 17
OUTPUT = Path(__file__).with_name("corruptions.webp")


def main() -> None:
    """Corrupt the first test digit of each class, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="~/.cache/mnist_vision", help="data root of MNIST")
    images, targets = load_split(parser.parse_args().root, "test")
    first = [int((targets == digit).nonzero()[0]) for digit in range(10)]
    digits = images[first, 0].numpy()
    rows = {"clean": digits}
    rows |= {corruption.name: corrupt(corruption, digits) for corruption in SUITES["corruptions"]}
    draw_rows(rows).save(OUTPUT, lossless=True, method=6)
    sys.stdout.write(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB\n")


def draw_rows(rows: dict[str, np.ndarray]) -> Image.Image:
    """Draw a row of digits beside each name."""
    num_digits, side, _ = next(iter(rows.values())).shape
    step = ZOOM * side + GAP
    picture = Image.new("L", (NAMES_WIDTH + num_digits * step, GAP + len(rows) * step), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(TEXT_SIZE)
    for row, (name, digits) in enumerate(rows.items()):
        y = GAP + row * step
        text = name.replace("_", " ")
        draw.text((2 * GAP, y + ZOOM * side // 2), text, "black", font, anchor="lm")
        for column, digit in enumerate(digits):
            x = NAMES_WIDTH + column * step
            tile = Image.fromarray(digit).resize((ZOOM * side,) * 2, Image.Resampling.NEAREST)
            picture.paste(tile, (x, y))
            draw.rectangle((x - 1, y - 1, x + ZOOM * side, y + ZOOM * side), outline="silver")
    return picture


if __name__ == "__main__":
    main()
