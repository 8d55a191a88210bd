"""The sets of test digits, if the runs were tested on more than one."""

from mnist_vision.report.blocks import Block, Cell, Section, Table
from mnist_vision.report.grouping import Comparison


def _make_blocks(comparison: Comparison) -> list[Block]:
    if len(comparison.tests) < 2:
        return []
    rows = [
        [
            Cell(test.name),
            Cell(", ".join(setting.label for setting in test.settings)),
            Cell(f"{len(test.targets):,}"),
            Cell(str(len(test.runs))),
        ]
        for test in comparison.tests
    ]
    return [Table(("test data", "settings", "digits", "runs"), rows, ("test data", "settings"))]


SECTION = Section(
    "Test data",
    "The settings were tested on different sets of digits. Only settings that were tested on the "
    "same digits are compared: every section has one part for each set.",
    _make_blocks,
)
