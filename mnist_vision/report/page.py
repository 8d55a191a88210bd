"""The report: one HTML page that needs nothing else, its Markdown, its CSV and its plots."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from tabulate import tabulate

from mnist_vision.report import plots
from mnist_vision.report.grouping import SharedTest, group
from mnist_vision.report.hard_digits import Hardest, find_hardest, load_pictures
from mnist_vision.report.headline import Tile, headline, tiles
from mnist_vision.report.selection import Selection
from mnist_vision.report.tables import (
    MAX_ALL_PAIRS,
    SUMMARY_COLUMNS,
    Table,
    compare_pairs,
    csv_rows,
    environments_table,
    incomplete_table,
    lab_table,
    letter,
    pairs_table,
    runs_table,
    said_table,
    settings_table,
    skipped_table,
    summary_rows,
    tests_table,
)

MAX_IN_SUMMARY = 10


@dataclass(frozen=True)
class Plot:
    """A plot.

    Args:
        file_name: What its file is called.
        description: What it shows, for those who do not see it.
        png: The file.
    """

    file_name: str
    description: str
    png: bytes

    @property
    def data_uri(self) -> str:
        """The file as an address."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Report:
    """A report, not yet written.

    Args:
        files: Contents by file name; the page is the last, so that it shows nothing not there yet.
        summary: Lines for the terminal.
    """

    files: dict[str, bytes]
    summary: list[str]


@dataclass(frozen=True)
class Chapter:
    """What there is to say of settings that were tested on the same digits.

    Args:
        name: What the digits are called: A, B, ...
        test: The settings.
        sentences: The headline.
        tiles: Figures that stand out.
        settings: A row a setting.
        runs: A row a run.
        curves: Loss and accuracy by epoch.
        matrices: Confusion matrices.
        costs: Accuracy by what it costs.
        pairs: A row a pair; None of a single setting.
        hardest: Digits that were got wrong; None of a single setting.
        said: What each setting took the hardest for.
        no_pictures: Why there are no pictures of digits; "" if there are.
    """

    name: str
    test: SharedTest
    sentences: list[str]
    tiles: list[Tile]
    settings: Table
    runs: Table
    curves: list[Plot]
    matrices: list[Plot]
    costs: list[Plot]
    pairs: Table | None
    hardest: Hardest | None
    said: Table | None
    no_pictures: str

    @property
    def plots(self) -> list[Plot]:
        """All plots."""
        return [*self.curves, *self.matrices, *self.costs]


def make_report(selection: Selection) -> Report:
    """Makes all files of a report, in memory."""
    tests, repeats = group(selection.runs)
    chapters = [_make_chapter(number, test) for number, test in enumerate(tests)]
    settings = [setting for test in tests for setting in test.settings]
    counted = [run for setting in settings for run in setting.runs]
    left_out = [*selection.skipped, *repeats]
    context = {
        "chapters": chapters,
        "num_runs": len(counted),
        "num_settings": len(settings),
        "lab": lab_table(settings, selection.incomplete),
        "tests": tests_table(tests) if len(tests) > 1 else None,
        "environments": environments_table(counted),
        "incomplete": incomplete_table(selection.incomplete),
        "skipped": skipped_table(left_out),
        "max_curves": plots.MAX_CURVES,
        "max_matrices": plots.MAX_MATRICES,
        "max_all_pairs": MAX_ALL_PAIRS,
        "colours": plots.COLOURS,
    }
    templates = Environment(
        loader=PackageLoader("mnist_vision.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["markdown"] = _escape_markdown
    files = {plot.file_name: plot.png for chapter in chapters for plot in chapter.plots}
    files["results.csv"] = _csv(csv_rows(tests, selection.incomplete)).encode(errors="replace")
    for name in ("report.md", "report.html"):
        files[name] = templates.get_template(name).render(context).encode(errors="replace")
    return Report(files, _summarise(tests, selection, len(repeats)))


def _make_chapter(number: int, test: SharedTest) -> Chapter:
    name = letter(number)
    suffix = f"_{name}" if number else ""
    is_several = len(test.settings) > 1
    pairs = compare_pairs(test)
    images, no_pictures = load_pictures(test) if is_several else (None, "")
    hardest = find_hardest(test, images) if is_several else None
    return Chapter(
        name=name,
        test=test,
        sentences=headline(test, pairs),
        tiles=tiles(test),
        settings=settings_table(test),
        runs=runs_table(test),
        curves=[
            Plot(
                f"curve_{key.replace('/', '_')}{suffix}.png",
                f"{title} by epoch",
                plots.plot_curves(test, key),
            )
            for key, title in plots.CURVES.items()
        ],
        matrices=[
            Plot(
                f"confusion_{place}{suffix}.png",
                f"confusion matrix of {setting.label}",
                plots.plot_confusion(setting),
            )
            for place, setting in enumerate(test.settings[: plots.MAX_MATRICES], 1)
        ],
        costs=[
            Plot(f"cost_{key}{suffix}.png", f"test accuracy by {title}", plots.plot_cost(test, key))
            for key, title in plots.COSTS.items()
        ],
        pairs=pairs_table(test, pairs) if is_several else None,
        hardest=hardest,
        said=said_table(test, hardest.by_all.shown) if hardest is not None else None,
        no_pictures=no_pictures,
    )


def _summarise(tests: Sequence[SharedTest], selection: Selection, num_repeats: int) -> list[str]:
    """What the terminal shows: the best settings by validation accuracy, and what is missing."""
    lines = []
    for test in tests:
        shown = test.settings[:MAX_IN_SUMMARY]
        table = tabulate(summary_rows(shown), SUMMARY_COLUMNS, disable_numparse=True)
        lines += [f"tested on {len(test.targets):,} digits, by validation accuracy", table]
        if len(test.settings) > len(shown):
            lines.append(f"and {len(test.settings) - len(shown)} more settings in the report")
        lines.append("")
    lines += [f"{job.status}  {job.folder}: {job.reason}" for job in selection.incomplete]
    lines += [f"skipped  {one.path}: {one.reason}" for one in selection.skipped]
    if num_repeats:
        lines.append(f"left out  {num_repeats} of the same settings and seed as a later run")
    return lines


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too."""
    for character in "\\`*[]|":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;")
