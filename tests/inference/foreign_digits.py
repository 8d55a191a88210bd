"""Digits of other writers and other sources than MNIST's, that measure the preparation of pictures.

Choices are made on the development sources. The final ones are looked at once, when all is chosen.

The final sources other than scikit-learn's are files in a folder, where those are left out that are
missing:

- `semeion.data`: M. Buscema, "MetaNet: The Theory of Independent Judges", Substance Use & Misuse 33
  (1998); https://archive.ics.uci.edu/dataset/178, CC BY 4.0. 1,593 digits by about 80 writers, half
  of them written in haste; each is stretched to a square.
- Fonts that imitate handwriting, `*.woff` or `*.ttf`. The 26 that we use are in npm's packages
  `@fontsource/NAME` 5.3.0 as `files/NAME-latin-400-normal.woff`. `FONTS` has the names. Apache
  License 2.0: homemade-apple, permanent-marker, rock-salt, schoolbell; SIL Open Font License 1.1:
  all others.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

FONTS = (
    "amatic-sc",
    "annie-use-your-telescope",
    "architects-daughter",
    "bad-script",
    "caveat",
    "cedarville-cursive",
    "covered-by-your-grace",
    "gloria-hallelujah",
    "gochi-hand",
    "handlee",
    "homemade-apple",
    "indie-flower",
    "kalam",
    "marck-script",
    "nanum-pen-script",
    "neucha",
    "patrick-hand",
    "permanent-marker",
    "reenie-beanie",
    "rock-salt",
    "schoolbell",
    "shadows-into-light",
    "short-stack",
    "sriracha",
    "sue-ellen-francisco",
    "the-girl-next-door",
)
FIRST_HALF = 905  # of scikit-learn's digits: seven of fourteen forms
FONT_SIZE = 96  # pixels
PICTURE_SIZE = 2 * FONT_SIZE


@dataclass(frozen=True, eq=False)
class Digits:
    """Pictures of one size, and what they show.

    Args:
        images: `[N, H, W]` uint8, as bright as in the source: some are white on black.
        labels: `[N]` int64 in 0..9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def development_sources() -> dict[str, Digits]:
    """Load the sources that choices are made on, by name. They need no download."""
    return {
        "scikit-learn, first half": scikit_learn_digits(slice(None, FIRST_HALF)),
        "DejaVu": printed_digits(dejavu_fonts()),
    }


def final_sources(folder: Path) -> dict[str, Digits]:
    """Load the sources that are looked at once, by name; `folder` holds the files of some."""
    sources = {"scikit-learn, second half": scikit_learn_digits(slice(FIRST_HALF, None))}
    if (folder / "semeion.data").exists():
        sources["Semeion"] = semeion_digits(folder / "semeion.data")
    fonts = sorted(path for path in folder.iterdir() if path.suffix in (".woff", ".ttf"))
    if fonts:
        sources["handwriting fonts"] = printed_digits(fonts)
    return sources


def scikit_learn_digits(part: slice) -> Digits:
    """Load digits that scikit-learn brings: `[N, 8, 8]`, white on black.

    They are the 1,797 test images of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
    Digits" (1998), https://archive.ics.uci.edu/dataset/80, CC BY 4.0, by 13 writers.
    The labels repeat after about 130 images, fourteen times: each time, it seems, a form begins.
    """
    digits = load_digits()
    images = (digits.images[part] * (255 / 16)).round().astype(np.uint8)
    return Digits(images, digits.target[part].astype(np.int64))


def semeion_digits(path: Path) -> Digits:
    """Read the digits of Semeion: `[1593, 16, 16]` of 0 and 255, white on black.

    A line has 256 pixels, then ten numbers of which the digit's is 1.
    """
    rows = np.loadtxt(path).astype(np.uint8)
    return Digits(rows[:, :256].reshape(-1, 16, 16) * 255, rows[:, 256:].argmax(axis=1))


def dejavu_fonts() -> list[Path]:
    """List the twelve DejaVu fonts that matplotlib brings (https://dejavu-fonts.github.io/License).

    Those named Display have no digits.
    """
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVu*.ttf")
    return sorted(path for path in fonts if not path.stem.endswith("Display"))


def printed_digits(fonts: list[Path]) -> Digits:
    """Print the ten digits in each font: `[10 F, 192, 192]`, black on white."""
    images = []
    for path in fonts:
        font = ImageFont.truetype(path, FONT_SIZE)
        for digit in range(10):
            picture = Image.new("L", (PICTURE_SIZE, PICTURE_SIZE), "white")
            left, top, right, bottom = font.getbbox(str(digit))
            place = ((PICTURE_SIZE - left - right) / 2, (PICTURE_SIZE - top - bottom) / 2)
            ImageDraw.Draw(picture).text(place, str(digit), fill="black", font=font)
            images.append(np.asarray(picture))
    return Digits(np.stack(images), np.tile(np.arange(10), len(fonts)))
