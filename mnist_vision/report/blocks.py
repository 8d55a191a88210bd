"""The blocks of a section, each of which both templates can show."""

from collections.abc import Callable
from typing import NamedTuple

from mnist_vision.report.grouping import Comparison, SharedTest


class Heading(NamedTuple):
    """A heading inside a section."""

    text: str


class Paragraph(NamedTuple):
    """A paragraph; `style` is "lead" for large type, "soft" for a remark."""

    text: str
    style: str = ""


class Tile(NamedTuple):
    """A value in large type, its title, and the label of the setting that reached it."""

    title: str
    value: str
    label: str


class Tiles(NamedTuple):
    """Tiles side by side."""

    tiles: list[Tile]


class Cell(NamedTuple):
    """A cell of a table.

    Args:
        text: The text.
        note: A remark in small type.
        is_best: Whether to mark the cell as the best of its column.
        colour: Number of the setting's colour in plots, from 0; None for no colour.
        heat: How much the cell is coloured in a heat map, in [0, 1]; None outside of one.
    """

    text: str
    note: str = ""
    is_best: bool = False
    colour: int | None = None
    heat: float | None = None


class Table(NamedTuple):
    """A table; text columns are aligned left, numbers right."""

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    text_columns: tuple[str, ...] = ()


class Plot(NamedTuple):
    """A PNG file; `description` is its alternative text."""

    file_name: str
    description: str
    png: bytes


class Plots(NamedTuple):
    """Plots side by side."""

    plots: list[Plot]


class Picture(NamedTuple):
    """A caption and a small picture above it, a PNG file; b"" for none."""

    title: str
    text: str
    note: str
    png: bytes


class Gallery(NamedTuple):
    """Small pictures side by side; wide ones are three squares in a row."""

    pictures: list[Picture]
    is_wide: bool = False


class Details(NamedTuple):
    """A table that is hidden until the reader opens it."""

    summary: str
    table: Table


Block = Heading | Paragraph | Tiles | Table | Plots | Gallery | Details


class Section(NamedTuple):
    """A section of the report.

    Args:
        title: Its heading, also in the navigation.
        introduction: What it shows and how to read it.
        make_blocks: Makes its contents; a section without contents is left out.
    """

    title: str
    introduction: str
    make_blocks: Callable[[Comparison], list[Block]]


def for_each_test(
    make_blocks: Callable[[SharedTest], list[Block]],
) -> Callable[[Comparison], list[Block]]:
    """Make blocks for each set of test digits, under its name if there are several sets."""

    def make_all(comparison: Comparison) -> list[Block]:
        blocks: list[Block] = []
        for test in comparison.tests:
            made = make_blocks(test)
            if made and len(comparison.tests) > 1:
                blocks.append(Heading(f"Test data {test.name}"))
            blocks += made
        return blocks

    return make_all


def limit_note(test: SharedTest, limit: int, verb: str = "Shown") -> list[Block]:
    """Say which settings are shown if there are more than `limit`."""
    total = len(test.settings)
    text = f"{verb}: the {limit} of {total} settings with the highest validation accuracy."
    return [Paragraph(text, "soft")] if total > limit else []
