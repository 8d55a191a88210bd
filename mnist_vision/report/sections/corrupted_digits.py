"""Accuracy under each corruption of a suite, and what the corruptions look like."""

from collections import defaultdict
from statistics import fmean, stdev

import numpy as np

from mnist_vision.evaluation.corruptions.corruption import Images
from mnist_vision.evaluation.corruptions.suite import SUITES, VERSION, corrupt
from mnist_vision.report.blocks import (
    Block,
    Cell,
    Gallery,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    for_each_test,
)
from mnist_vision.report.grouping import Comparison, Setting, SharedTest
from mnist_vision.report.quantities import NOTHING
from mnist_vision.report.sections.hard_digits import encode_png, load_images
from mnist_vision.runs.robustness_record import Robustness

MAX_SETTINGS = 12
# The first test image of each of these classes is shown under each corruption.
SHOWN_CLASSES = (2, 4, 5, 7)
# Cells with this error or a larger one have the full colour.
FULL_ERROR = 0.5

# The records of the runs of each setting.
Measured = dict[Setting, list[Robustness]]


def group_by_suite(test: SharedTest) -> dict[tuple[str, int], Measured]:
    """Group the records of each setting by suite and version of the suite, the newest first."""
    found: dict[tuple[str, int], Measured] = defaultdict(lambda: defaultdict(list))
    for setting in test.settings:
        for run in setting.runs:
            if run.robustness is not None:
                suite = run.robustness.suite, run.robustness.suite_version
                found[suite][setting].append(run.robustness)
    return {suite: dict(found[suite]) for suite in sorted(found, reverse=True)}


def mean_accuracies(measured: Measured) -> dict[str, float]:
    """The mean accuracy of all settings under each corruption, the most harmful first."""
    found: dict[str, list[float]] = defaultdict(list)
    for records in measured.values():
        for name in dict.fromkeys(name for each in records for name in each.corruptions):
            found[name].append(fmean(_accuracies(records, name)))
    means = {name: fmean(accuracies) for name, accuracies in found.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def accuracy_table(measured: Measured) -> Table:
    """Make a column for each setting, and a row for each corruption, the most harmful first."""
    in_mean = next(iter(measured.values()))[0].mean_over
    means = [[each.mean_accuracy for each in records] for records in measured.values()]
    clean = [[each.clean_accuracy for each in records] for records in measured.values()]
    rows = [
        [Cell("none"), *map(_cell, clean)],
        [Cell(f"mean of {len(in_mean)}"), *map(_cell, means)],
    ]
    for name in mean_accuracies(measured):
        note = "" if name in in_mean else "not in the mean"
        accuracies = [_accuracies(records, name) for records in measured.values()]
        rows.append([Cell(_in_words(name), note), *map(_cell, accuracies)])
    columns = [_heading(setting, len(records)) for setting, records in measured.items()]
    return Table(("corruption", *columns), rows, ("corruption",))


def draw_corruptions(images: Images, targets: np.ndarray, suite: str) -> dict[str, bytes]:
    """Draw the same four digits under each corruption, as PNG files by name; first without any.

    Args:
        images: `[N, 28, 28]` uint8.
        targets: `[N]` int64 in 0..9.
        suite: Name of the suite.
    """
    shown = images[[int(np.argmax(targets == digit)) for digit in SHOWN_CLASSES]]
    changed = {"none": shown} | {each.name: corrupt(each, shown) for each in SUITES[suite]}
    # As the networks see them: white on black.
    return {name: encode_png(_as_square(digits)) for name, digits in changed.items()}


def _make_blocks(comparison: Comparison) -> list[Block]:
    if all(run.robustness is None for run in comparison.runs):
        return []
    return for_each_test(_make_test_blocks)(comparison)


def _make_test_blocks(test: SharedTest) -> list[Block]:
    suites = group_by_suite(test)
    blocks: list[Block] = []
    for (suite, version), measured in suites.items():
        if len(suites) > 1:
            blocks.append(Heading(f"Suite {suite}, version {version}"))
        kept = dict(list(measured.items())[:MAX_SETTINGS])
        blocks += [*_limit_note(test, len(measured), len(kept)), accuracy_table(kept)]
        if suite in SUITES and version == VERSION:
            blocks += _gallery(test, suite, kept)
    return blocks


def _gallery(test: SharedTest, suite: str, measured: Measured) -> list[Block]:
    images, reason = load_images(test)
    if images is None:
        return [Paragraph(f"There are no pictures: {reason}.")]
    drawn = draw_corruptions(images, test.targets, suite)
    clean = [fmean(each.clean_accuracy for each in records) for records in measured.values()]
    pictures = [Picture("none", "", f"{fmean(clean):.4f}", drawn["none"])]
    pictures += [
        Picture(_in_words(name), "", f"{mean:.4f}", drawn[name])
        for name, mean in mean_accuracies(measured).items()
        if name in drawn
    ]
    text = "The same four digits under each corruption, with the mean accuracy of all settings"
    return [Paragraph(f"{text} in the table.", "soft"), Gallery(pictures)]


def _limit_note(test: SharedTest, num_measured: int, num_shown: int) -> list[Block]:
    notes = []
    if num_measured < len(test.settings):
        notes.append(f"{num_measured} of {len(test.settings)} settings were measured.")
    if num_shown < num_measured:
        notes.append(f"Shown: the {num_shown} of them with the highest validation accuracy.")
    return [Paragraph(" ".join(notes), "soft")] if notes else []


def _heading(setting: Setting, num_measured: int) -> str:
    num_runs = len(setting.runs)
    seeds = f" ({num_measured} of {num_runs} seeds)" if num_measured < num_runs else ""
    return f"{setting.label}{seeds}"


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _accuracies(records: list[Robustness], name: str) -> list[float]:
    return [each.corruptions[name].accuracy for each in records if name in each.corruptions]


def _cell(accuracies: list[float]) -> Cell:
    if not accuracies:
        return Cell(NOTHING)
    mean = fmean(accuracies)
    deviation = f"± {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    return Cell(f"{mean:.4f}", deviation, heat=min((1 - mean) / FULL_ERROR, 1))


def _as_square(digits: Images) -> Images:
    """Put four images `[4, 28, 28]` into one, `[58, 58]`, with a grey line between them."""
    square = np.full((58, 58), 128, np.uint8)
    for place, digit in enumerate(digits):
        top, left = 30 * (place // 2), 30 * (place % 2)
        square[top : top + 28, left : left + 28] = digit
    return square


SECTION = Section(
    "Robustness",
    "Accuracy on the test images under each corruption of a suite, as a mean over seeds, ± the "
    "standard deviation. The more of the images are read wrong, the darker the cell. The most "
    "harmful corruptions come first. No network was chosen by these figures.",
    _make_blocks,
)
