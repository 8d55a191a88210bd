"""The tables of the report, as text in cells: HTML and Markdown show the same ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PureWindowsPath
from typing import Any

from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.hard_digits import HardDigit
from mnist_vision.report.lab import REPORTED, Reported
from mnist_vision.report.selection import Incomplete, Run, Skipped
from mnist_vision.report.statistics import CONFIDENCE, McNemar, holm, mcnemar

NOTHING = "–"  # noqa: RUF001 (an en dash: what is not known)
# More pairs than those of so many settings would be a table that nobody reads.
MAX_ALL_PAIRS = 8
# Settings shown of an architecture that was not run by the lab's recipe.
MAX_OWN_RECIPES = 10
MNIST_TEST_SIZE = 10_000


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: What it says.
        note: Something smaller below.
        is_best: Whether it is the best of its column.
        colour: Number of the colour that plots give the setting it names, from 0.
    """

    text: str
    note: str = ""
    is_best: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        columns: The headings.
        rows: A cell for each column.
        text_columns: Which columns are text, and not numbers one below the other.
    """

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    text_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two settings on the same digits.

    Args:
        first: One.
        second: The other.
        outcome: Of their representatives.
        adjusted: Its p value among all that are tested, by Holm.
    """

    first: Setting
    second: Setting
    outcome: McNemar
    adjusted: float

    @property
    def is_real(self) -> bool:
        """Whether chance alone is an unlikely explanation."""
        return self.adjusted < 1 - CONFIDENCE


def compare_pairs(test: SharedTest) -> list[Pair]:
    """All pairs of a few settings; of many, each with the one of the best validation accuracy."""
    best, *others = test.settings
    is_few = len(test.settings) <= MAX_ALL_PAIRS
    pairs = list(combinations(test.settings, 2)) if is_few else [(best, other) for other in others]
    outcomes = [mcnemar(first.is_right, second.is_right) for first, second in pairs]
    adjusted = holm([outcome.p_value for outcome in outcomes])
    return [
        Pair(first, second, outcome, p_value)
        for (first, second), outcome, p_value in zip(pairs, outcomes, adjusted, strict=True)
    ]


def lab_table(settings: Sequence[Setting], incomplete: Sequence[Incomplete]) -> Table | None:
    """The lab's table: our figures, and below them what its write-up reports.

    Returns:
        None if no architecture of the lab is among the runs.
    """
    own = {name: _lab_settings(name, settings) for name in REPORTED}
    jobs = {name: [job for job in incomplete if job.model == name] for name in REPORTED}
    if not any(own.values()) and not any(jobs.values()):
        return None
    names = ("train_loss", "train_accuracy", "test_accuracy", "test_f1")
    best = {name: _best(name, [one for shown in own.values() for one in shown]) for name in names}
    rows = []
    for architecture, reported in REPORTED.items():
        for place, setting in enumerate(own[architecture]):
            figures = [
                Cell(_decimal(setting.mean(name)), is_best=setting in best[name]) for name in names
            ]
            losses = _losses(setting.per_epoch("train/loss"))
            who = Cell(setting.label, _lab_note(setting, reported))
            rows.append([Cell("" if place else reported.title), who, *figures, losses])
        if not own[architecture]:
            reason = _why_not_run(jobs[architecture])
            rows.append([Cell(reported.title), reason, *[Cell(NOTHING)] * (len(names) + 1)])
        theirs = [Cell(_decimal(reported.figures.get(name))) for name in names]
        who = Cell("the lab’s write-up")  # noqa: RUF001
        rows.append([Cell(""), who, *theirs, _losses(reported.losses)])
    columns = ("architecture", "whose", "training loss", "training accuracy", "test accuracy", "F1")
    text_columns = ("architecture", "whose", "loss per epoch")
    return Table((*columns, "loss per epoch"), rows, text_columns)


def settings_table(test: SharedTest) -> Table:
    """A row a setting: accuracy and how sure it is, and what it costs."""
    spread = ("val_accuracy", "test_accuracy", "test_f1")
    costs = ("num_mistakes", "num_parameters", "fit_seconds", "inference_ms")
    best = {name: _best(name, test.settings) for name in (*spread, *costs)}
    rows = []
    for number, setting in enumerate(test.settings):

        def cell(name: str, show: Callable[[float], str], setting: Setting = setting) -> Cell:
            deviation = setting.standard_deviation(name)
            note = f"± {show(deviation)}" if deviation is not None and name in spread else ""
            return Cell(show(setting.mean(name)), note, is_best=setting in best[name])

        kind = "over seeds" if len(setting.runs) > 1 else "over images, 1 seed"
        interval = f"{setting.interval.low:.4f} to {setting.interval.high:.4f}"
        rows.append(
            [
                Cell(str(number + 1)),
                Cell(setting.label, colour=number),
                Cell(str(len(setting.runs))),
                cell("val_accuracy", _decimal),
                cell("test_accuracy", _decimal),
                Cell(interval, kind),
                cell("test_f1", _decimal),
                cell("num_mistakes", _one_decimal),
                cell("num_parameters", _count),
                cell("fit_seconds", _one_decimal),
                cell("inference_ms", _milliseconds),
            ]
        )
    columns = (
        "#",
        "setting",
        "seeds",
        "validation accuracy",
        "test accuracy",
        "95 % interval",
        "F1",
        "mistakes",
        "parameters",
        "training, s",
        "inference, ms/image",
    )
    return Table(columns, rows, ("#", "setting"))


def runs_table(test: SharedTest) -> Table:
    """A row a run."""
    rows = [
        [
            Cell(setting.label, colour=number),
            Cell(str(run.folder), _other_figures(run)),
            Cell(str(run.results.seed)),
            Cell(str(len(run.results.history))),
            Cell(_decimal(run.figures["train_loss"])),
            Cell(_decimal(run.figures["val_accuracy"])),
            Cell(_decimal(run.figures["test_accuracy"])),
            Cell(_decimal(run.figures["test_f1"])),
            Cell(_count(run.num_mistakes)),
            Cell(_one_decimal(run.figures["fit_seconds"])),
        ]
        for number, setting in enumerate(test.settings)
        for run in setting.runs
    ]
    columns = (
        "setting",
        "folder",
        "seed",
        "epochs",
        "training loss",
        "validation accuracy",
        "test accuracy",
        "F1",
        "mistakes",
        "training, s",
    )
    return Table(columns, rows, ("setting", "folder"))


def pairs_table(test: SharedTest, pairs: Sequence[Pair]) -> Table:
    """A row a pair: who is right where the other is wrong, and whether that may be chance."""
    number = {setting.label: place for place, setting in enumerate(test.settings)}
    rows = []
    for pair in pairs:
        first_only, second_only, p_value = pair.outcome
        winner = pair.first if first_only > second_only else pair.second
        verdict = f"yes: {winner.label} is better" if pair.is_real else "may be chance"
        rows.append(
            [
                Cell(pair.first.label, colour=number[pair.first.label]),
                Cell(pair.second.label, colour=number[pair.second.label]),
                Cell(verdict, is_best=pair.is_real),
                Cell(_count(first_only)),
                Cell(_count(second_only)),
                Cell(_probability(p_value)),
                Cell(_probability(pair.adjusted)),
            ]
        )
    columns = ("first", "second", "real?", "only first right", "only second right", "p", "p, Holm")
    return Table(columns, rows, ("first", "second", "real?"))


def said_table(test: SharedTest, digits: Sequence[HardDigit]) -> Table:
    """A row a digit: what each setting took it for."""
    labels = [setting.label for setting in test.settings]
    rows = [[Cell(str(d.index)), Cell(str(d.target)), *map(Cell, d.by_setting)] for d in digits]
    return Table(("test digit", "is", *labels), rows)


def tests_table(tests: Sequence[SharedTest]) -> Table:
    """A row for each set of test digits."""
    rows = [
        [
            Cell(letter(number)),
            Cell(", ".join(setting.label for setting in test.settings)),
            Cell(_count(len(test.targets))),
            Cell(str(test.num_runs)),
        ]
        for number, test in enumerate(tests)
    ]
    return Table(("test data", "settings", "digits", "runs"), rows, ("test data", "settings"))


def letter(number: int) -> str:
    """What a set of test digits is called: A, B, ..."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)


def environments_table(runs: Sequence[Run]) -> Table:
    """A row for each machine and set of versions, the most frequent first."""
    environments = [run.results.environment for run in runs]
    names = list(dict.fromkeys(name for one in environments for name in one))
    kinds = [tuple(_text(one.get(name)) for name in names) for one in environments]
    frequent = sorted(dict.fromkeys(kinds), key=lambda kind: -kinds.count(kind))
    rows = [[*map(Cell, kind), Cell(str(kinds.count(kind)))] for kind in frequent]
    return Table((*names, "runs"), rows, tuple(names))


def incomplete_table(incomplete: Sequence[Incomplete]) -> Table:
    """A row for each job that left no results."""
    rows = [
        [
            Cell(str(job.folder), " ".join(job.overrides)),
            Cell(job.model or NOTHING),
            Cell(job.status),
            Cell(job.reason),
        ]
        for job in incomplete
    ]
    columns = ("folder", "architecture", "status", "reason")
    return Table(columns, rows, columns)


def skipped_table(skipped: Sequence[Skipped]) -> Table:
    """A row for each thing that was left out."""
    rows = [[Cell(str(one.path)), Cell(one.reason)] for one in skipped]
    return Table(("what", "why"), rows, ("what", "why"))


def csv_rows(tests: Sequence[SharedTest], incomplete: Sequence[Incomplete]) -> list[dict[str, Any]]:
    """A row a run, in full precision; those that did not complete too."""
    rows: list[dict[str, Any]] = []
    for number, test in enumerate(tests):
        for setting in test.settings:
            for run in setting.runs:
                row = {
                    "setting": setting.label,
                    "architecture": run.results.architecture,
                    "seed": run.results.seed,
                    "status": "completed",
                    "epochs": len(run.results.history),
                    **run.figures,
                    "num_trainable_parameters": run.results.num_trainable_parameters,
                    "num_images": len(run.targets),
                    "missed": run.results.test.missed,
                    "weights": run.results.weights,
                    "test_data": letter(number),
                    "device": run.results.environment.get("device"),
                    "folder": run.folder,
                }
                rows.append(row)
    for job in incomplete:
        named = {"setting": " ".join(job.overrides), "architecture": job.model}
        rows.append(named | {"status": job.status, "reason": job.reason, "folder": job.folder})
    return rows


def summary_rows(settings: Sequence[Setting]) -> list[list[str]]:
    """What the terminal shows of settings."""
    rows = []
    for setting in settings:
        deviation = setting.standard_deviation("test_accuracy")
        spread = f" ± {deviation:.4f}" if deviation is not None else ""
        rows.append(
            [
                setting.label if len(setting.label) <= 40 else f"{setting.label[:39]}…",
                str(len(setting.runs)),
                f"{_decimal(setting.mean('test_accuracy'))}{spread}",
                _decimal(setting.mean("test_f1")),
                _count(setting.mean("num_parameters")),
                _one_decimal(setting.mean("fit_seconds")),
            ]
        )
    return rows


SUMMARY_COLUMNS = ("setting", "seeds", "test accuracy", "F1", "parameters", "training, s")


def _lab_settings(architecture: str, settings: Sequence[Setting]) -> list[Setting]:
    """The lab's own recipe, if it was run; else whatever was run of the architecture."""
    same = [setting for setting in settings if setting.architecture == architecture]
    recipe = f"lab/{architecture}"
    by_recipe = [one for one in same if one.label == recipe or one.label.startswith(f"{recipe} (")]
    return by_recipe or same[:MAX_OWN_RECIPES]


def _lab_note(setting: Setting, reported: Reported) -> str:
    run = setting.representative
    notes = ["1 seed" if len(setting.runs) == 1 else f"mean of {len(setting.runs)} seeds"]
    weights = run.results.weights
    if weights is not None:
        notes.append(f"weights {PureWindowsPath(weights).name}")  # which knows both slashes
    elif reported.is_pretrained:
        notes.append("from scratch; the write-up’s was pretrained")  # noqa: RUF001
    if len(run.targets) != MNIST_TEST_SIZE:
        notes.append(f"on {len(run.targets):,} digits, not MNIST’s {MNIST_TEST_SIZE:,}")  # noqa: RUF001
    return ", ".join(notes)


def _why_not_run(jobs: Sequence[Incomplete]) -> Cell:
    if not jobs:
        return Cell("not run")
    more = f" (and {len(jobs) - 1} more)" if len(jobs) > 1 else ""
    return Cell(f"{jobs[0].status}{more}", jobs[0].reason)


def _losses(losses: Sequence[float]) -> Cell:
    return Cell(" ".join(map(_decimal, losses)) or NOTHING)


def _other_figures(run: Run) -> str:
    """What some networks report beside what all do, a detector's boxes say."""
    shown = {"accuracy", "f1", "num_images", "num_mistakes"}
    figures = run.results.test.model_dump()
    others = {name: value for name, value in figures.items() if name not in shown}
    return ", ".join(f"{name} {value:g}" for name, value in others.items() if value)


def _best(name: str, settings: Sequence[Setting]) -> list[Setting]:
    """The settings whose mean of a figure is best; none where there is nothing to choose from."""
    if len(settings) < 2:
        return []
    choose = max if "accuracy" in name or "f1" in name else min
    chosen = choose(setting.mean(name) for setting in settings)
    return [setting for setting in settings if setting.mean(name) == chosen]


def _decimal(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _one_decimal(value: float) -> str:
    return f"{value:,.1f}"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _probability(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 0.0001 else f"{p_value:.0e}"


def _text(value: Any) -> str:
    return NOTHING if value is None else str(value)
