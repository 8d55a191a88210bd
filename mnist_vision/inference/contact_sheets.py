"""Draw what the networks were shown: contact sheets of pictures, digits and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mnist_vision.common.errors import printable
from mnist_vision.common.files import write_atomically
from mnist_vision.inference.picture_reading import Picture, Pixels
from mnist_vision.inference.prediction_files import NOTHING_FOUND
from mnist_vision.inference.predictor import Prediction
from mnist_vision.runs.file_names import CONTACT_SHEET, EXPLANATIONS

_ZOOM = 4  # of the 28x28 pixels that a network was shown
_SIDE = 28 * _ZOOM  # of a picture and of a digit on the sheet
_GAP = 8
_TEXT_HEIGHT = 34
_COLUMNS, _ROWS = 5, 8
_EXPLANATION_COLUMNS = 3
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


class _Sheets:
    """Arrange cells of one size on sheets, and write a sheet whenever it is full.

    Args:
        folder: Gets the files.
        file_name: Their name, with a place for the number of the sheet.
        num_columns: Cells side by side.
    """

    def __init__(self, folder: Path, file_name: str, num_columns: int) -> None:
        self._folder = folder
        self._file_name = file_name
        self._num_columns = num_columns
        self._num_sheets = 0
        self._cells: list[Image.Image] = []

    def close(self) -> None:
        """Write the sheet that is not full, if there is one."""
        if not self._cells:
            return
        self._num_sheets += 1
        num_columns = min(self._num_columns, len(self._cells))
        num_rows = -(-len(self._cells) // self._num_columns)
        width, height = self._cells[0].size
        sheet = Image.new("RGB", (num_columns * width, num_rows * height), _PAPER)
        for index, cell in enumerate(self._cells):
            row, column = divmod(index, self._num_columns)
            sheet.paste(cell, (column * width, row * height))
        self._cells = []
        with write_atomically(self._folder / self._file_name.format(self._num_sheets)) as file:
            sheet.save(file, "PNG")

    def _add_cell(self, cell: Image.Image) -> None:
        self._cells.append(cell)
        if len(self._cells) == self._num_columns * _ROWS:
            self.close()


class ContactSheets(_Sheets):
    """Draw a cell for each digit: the picture, what the network was shown, what it read.

    Args:
        folder: Gets `contact_sheet_001.png`, ...
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CONTACT_SHEET, _COLUMNS)

    def add(self, file: str, thumbnail: Thumbnail, predictions: Sequence[Prediction]) -> None:
        """Add the digits of a picture."""
        digits: Sequence[Prediction | None] = predictions or [None]
        for found in digits:
            self._add_cell(_draw_cell(file, thumbnail, found))


class ExplanationSheets(_Sheets):
    """Draw a cell for each digit: what the network was shown, and where it looked.

    Args:
        folder: Gets `explanations_001.png`, ...
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, EXPLANATIONS, _EXPLANATION_COLUMNS)

    def add(
        self, file: str, predictions: Sequence[Prediction], explanations: Sequence[Pixels]
    ) -> None:
        """Add the digits of a picture, with what `Predictor.explain` drew of each."""
        for found, explanation in zip(predictions, explanations, strict=True):
            height, width, _ = explanation.shape
            size = (_ZOOM * width, _ZOOM * height)
            picture = Image.fromarray(explanation).resize(size, Image.Resampling.NEAREST)
            cell = Image.new("RGB", (size[0] + 2 * _GAP, size[1] + _TEXT_HEIGHT + 2 * _GAP), _PAPER)
            cell.paste(picture, (_GAP, _GAP))
            _write_answer(cell, file, _answer(found))
            self._add_cell(cell)


def _draw_cell(file: str, thumbnail: Thumbnail, found: Prediction | None) -> Image.Image:
    """Draw a picture, the digit that was found in it, and what was read."""
    cell = Image.new("RGB", _CELL, _PAPER)
    cell.paste(thumbnail.image, (_GAP, _GAP))
    answer = NOTHING_FOUND
    if found is not None:
        answer = _answer(found)
        corners = [_GAP + thumbnail.scale * side for side in found.box]
        ImageDraw.Draw(cell).rectangle(corners, outline=_BOX)
        if found.shown.size:  # a detector may find a box without pixels
            cell.paste(make_thumbnail(Picture(found.shown)).image, (_SIDE + 2 * _GAP, _GAP))
    _write_answer(cell, file, answer)
    return cell


def _answer(found: Prediction) -> str:
    return f"{found.digit}   {found.confidence:.4f}"


def _write_answer(cell: Image.Image, file: str, answer: str) -> None:
    """Write what was read, and the name of the file, under the pictures of a cell."""
    draw = ImageDraw.Draw(cell)
    text_y = _GAP + _SIDE + 4
    name = printable(file)
    name = name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME + 3 :]}"
    draw.text((_GAP, text_y + 16), name, _FAINT, font=ImageFont.load_default(11))
    draw.text((_GAP, text_y), answer, _INK, font=ImageFont.load_default(14))
