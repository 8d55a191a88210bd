"""Draw what the networks were shown: contact sheets of pictures, digits and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mnist_vision.common.errors import printable
from mnist_vision.common.files import write_atomically
from mnist_vision.inference.picture_reading import Picture
from mnist_vision.inference.prediction_files import NOTHING_FOUND
from mnist_vision.inference.predictor import Prediction
from mnist_vision.runs.file_names import CONTACT_SHEET

_SIDE = 112  # of a picture and of a digit on the sheet: four times 28 pixels
_GAP = 8
_TEXT_HEIGHT = 34
_COLUMNS, _ROWS = 5, 8
_CELL = (2 * _SIDE + 3 * _GAP, _SIDE + _TEXT_HEIGHT + 2 * _GAP)
_PAPER, _INK, _FAINT, _BOX = "white", "black", "#667085", "#d92d20"
_LONGEST_NAME = 34  # characters


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A small copy of a picture.

    Args:
        image: At most 112 pixels a side.
        scale: Its pixels for a pixel of the picture.
    """

    image: Image.Image
    scale: float


def make_thumbnail(picture: Picture) -> Thumbnail:
    """Make a small copy of a picture; small pictures are enlarged."""
    height, width = picture.pixels.shape
    scale = _SIDE / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    return Thumbnail(
        Image.fromarray(picture.pixels).resize(size, method), scale / picture.reduction
    )


class ContactSheets:
    """Draw a cell for each digit, and write a sheet whenever it is full.

    Args:
        folder: Gets `contact_sheet_001.png`, ...
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num_sheets = 0
        self._cells: list[Image.Image] = []

    def add(self, file: str, thumbnail: Thumbnail, predictions: Sequence[Prediction]) -> None:
        """Add the digits of a picture."""
        digits: Sequence[Prediction | None] = predictions or [None]
        for found in digits:
            self._cells.append(_draw_cell(file, thumbnail, found))
            if len(self._cells) == _COLUMNS * _ROWS:
                self.close()

    def close(self) -> None:
        """Write the sheet that is not full, if there is one."""
        if not self._cells:
            return
        self._num_sheets += 1
        num_columns = min(_COLUMNS, len(self._cells))
        num_rows = -(-len(self._cells) // _COLUMNS)
        width, height = _CELL
        sheet = Image.new("RGB", (num_columns * width, num_rows * height), _PAPER)
        for index, cell in enumerate(self._cells):
            row, column = divmod(index, _COLUMNS)
            sheet.paste(cell, (column * width, row * height))
        self._cells = []
        with write_atomically(self._folder / CONTACT_SHEET.format(self._num_sheets)) as file:
            sheet.save(file, "PNG")


def _draw_cell(file: str, thumbnail: Thumbnail, found: Prediction | None) -> Image.Image:
    """Draw a picture, the digit that was found in it, and what was read."""
    cell = Image.new("RGB", _CELL, _PAPER)
    draw = ImageDraw.Draw(cell)
    cell.paste(thumbnail.image, (_GAP, _GAP))
    text_y = _GAP + _SIDE + 4
    name = printable(file)
    name = name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME + 3 :]}"
    draw.text((_GAP, text_y + 16), name, _FAINT, font=ImageFont.load_default(11))
    answer = NOTHING_FOUND
    if found is not None:
        answer = f"{found.digit}   {found.confidence:.4f}"
        corners = [_GAP + thumbnail.scale * side for side in found.box]
        draw.rectangle(corners, outline=_BOX)
        if found.shown.size:  # a detector may find a box without pixels
            cell.paste(make_thumbnail(Picture(found.shown)).image, (_SIDE + 2 * _GAP, _GAP))
    draw.text((_GAP, text_y), answer, _INK, font=ImageFont.load_default(14))
    return cell
