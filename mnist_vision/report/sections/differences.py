"""Tests of whether settings differ significantly."""

from dataclasses import dataclass
from itertools import combinations

from mnist_vision.evaluation.statistics import CONFIDENCE, McNemar, holm, mcnemar
from mnist_vision.report.blocks import Block, Cell, Paragraph, Section, Table, for_each_test
from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.quantities import show_probability

# With more settings, each is compared with the first only, to keep the table readable.
MAX_ALL_PAIRS = 8


@dataclass(frozen=True)
class Pair:
    """Two settings, the test of their representatives, and its p value by Holm's method."""

    first: Setting
    second: Setting
    outcome: McNemar
    adjusted: float

    @property
    def is_real(self) -> bool:
        """Test whether the difference is significant."""
        return self.adjusted < 1 - CONFIDENCE


def compare_pairs(test: SharedTest) -> list[Pair]:
    """Compare all pairs of settings or, of many, the first with each other one."""
    best, *others = test.settings
    is_few = len(test.settings) <= MAX_ALL_PAIRS
    pairs = list(combinations(test.settings, 2)) if is_few else [(best, other) for other in others]
    outcomes = [mcnemar(first.is_correct, second.is_correct) for first, second in pairs]
    adjusted = holm([outcome.p_value for outcome in outcomes])
    return [
        Pair(first, second, outcome, p_value)
        for (first, second), outcome, p_value in zip(pairs, outcomes, adjusted, strict=True)
    ]


def pairs_table(test: SharedTest) -> Table:
    """Make a row for each pair of settings."""
    number = {setting.label: place for place, setting in enumerate(test.settings)}
    rows = []
    for pair in compare_pairs(test):
        first_only, second_only, p_value = pair.outcome
        winner = pair.first if first_only > second_only else pair.second
        verdict = f"yes: {winner.label} is better" if pair.is_real else "may be chance"
        rows.append(
            [
                Cell(pair.first.label, colour=number[pair.first.label]),
                Cell(pair.second.label, colour=number[pair.second.label]),
                Cell(verdict, is_best=pair.is_real),
                Cell(f"{first_only:,}"),
                Cell(f"{second_only:,}"),
                Cell(show_probability(p_value)),
                Cell(show_probability(pair.adjusted)),
            ]
        )
    counts = ("only first right", "only second right")
    columns = ("first", "second", "real?", *counts, "p", "p (Holm)")
    return Table(columns, rows, ("first", "second", "real?"))


def _make_blocks(test: SharedTest) -> list[Block]:
    total = len(test.settings)
    if total == 1:
        return [Paragraph("A single setting: there is nothing to compare it with.")]
    if total <= MAX_ALL_PAIRS:
        return [pairs_table(test)]
    note = f"Each of {total} settings is compared with the one of the highest validation accuracy."
    return [Paragraph(note, "soft"), pairs_table(test)]


SECTION = Section(
    "Differences",
    "Two networks tested on the same digits differ only on digits that one of them gets right and "
    "the other wrong. If neither were better, each of these digits would be equally likely to go "
    "either way: McNemar's exact test gives the probability p of a split at least as uneven. "
    "Among many pairs, some p values are small by chance, so Holm's method raises them for the "
    "whole table; a difference is called real if p is below 5 % after that. Each setting is "
    "represented by its run of the lowest seed: the test is about these trained networks, and not "
    "about other seeds.",
    for_each_test(_make_blocks),
)
