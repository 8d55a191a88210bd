"""The machines and versions of the runs, and the runs that are missing."""

from collections import Counter
from collections.abc import Sequence

from mnist_vision.report.blocks import Block, Cell, Heading, Section, Table
from mnist_vision.report.grouping import Comparison
from mnist_vision.report.quantities import NOTHING
from mnist_vision.report.selection import FinishedRun


def environments_table(runs: Sequence[FinishedRun]) -> Table:
    """Make a row for each machine with its versions, the most frequent first."""
    environments = [run.results.environment for run in runs]
    names = tuple(dict.fromkeys(name for one in environments for name in one))
    counted = Counter(tuple(_text(one.get(name)) for name in names) for one in environments)
    rows = [[*map(Cell, values), Cell(str(count))] for values, count in counted.most_common()]
    return Table((*names, "runs"), rows, names)


def _make_blocks(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = [environments_table(comparison.finished)]
    jobs = [
        [Cell(str(job.folder), " ".join(job.overrides))]
        + [Cell(text) for text in (job.model or NOTHING, job.status, job.reason)]
        for job in comparison.incomplete
    ]
    left_out = [*comparison.skipped, *comparison.repeats]
    others = [[Cell(str(one.path)), Cell(one.reason)] for one in left_out]
    for title, columns, rows in (
        ("Runs that did not complete", ("folder", "architecture", "status", "reason"), jobs),
        ("Left out", ("path", "reason"), others),
    ):
        if rows:
            blocks += [Heading(f"{title}: {len(rows)}"), Table(columns, rows, columns)]
    return blocks


def _text(value: object) -> str:
    return NOTHING if value is None else str(value)


SECTION = Section(
    "How it was made",
    "Versions and machines of the runs. Compare times only between runs on the same machine; other "
    "figures may differ between machines in their last digits.",
    _make_blocks,
)
