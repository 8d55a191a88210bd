"""Group runs by setting, and settings by the digits they were tested on."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnist_vision.evaluation.statistics import Interval, mean_interval, proportion_interval
from mnist_vision.report.quantities import QUANTITIES
from mnist_vision.report.selection import (
    FinishedRun,
    Incomplete,
    Run,
    Selection,
    Skipped,
    TestedEnsemble,
)
from mnist_vision.runs.predictions import Digits
from mnist_vision.runs.settings import flatten

# Overrides that labels leave out: they only say where a run writes and how it was started.
_UNNAMED_KEYS = {"seed", "model", "output_dir", "ckpt_path", "suite", "test"}
_UNNAMED_KEYS |= {"data.root", "data.download", "data.device"}
_UNNAMED_GROUPS = {"search", "sweep", "hydra", "logger"}

RunKind = TypeVar("RunKind", bound=FinishedRun)
SettingKind = TypeVar("SettingKind", "Setting", "UntestedSetting")
# Labels that differ in more settings than this get a number instead.
_MAX_DISTINCTIONS = 3


@dataclass(frozen=True, eq=False)
class UntestedSetting:
    """Runs without a test that differ only in their seed; its label is short and unique."""

    label: str
    runs: tuple[FinishedRun, ...]

    @property
    def representative(self) -> FinishedRun:
        """The run of the lowest seed."""
        return self.runs[0]

    @property
    def val_accuracies(self) -> list[float]:
        """The highest validation accuracy of each run."""
        return [run.results.best.val_accuracy for run in self.runs]


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ only in their seed, one for each seed; its label is short and unique."""

    label: str
    runs: tuple[Run, ...]

    @property
    def representative(self) -> Run:
        """The run of the lowest seed, so that no test result has chosen it."""
        return self.runs[0]

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """`[N]`: whether the representative's prediction is correct, for each digit."""
        return np.equal(self.representative.predictions, self.representative.targets)

    def values(self, name: str) -> list[float]:
        """A quantity of each run that has it."""
        values = [QUANTITIES[name].of(run) for run in self.runs]
        return [value for value in values if not math.isnan(value)]

    def mean(self, name: str) -> float:
        """A quantity's mean over the runs that have it; NaN if none has it."""
        values = self.values(name)
        return fmean(values) if values else math.nan

    def show_mean(self, name: str) -> str:
        """A quantity's mean over the runs, as text."""
        return QUANTITIES[name].show(self.mean(name))

    def standard_deviation(self, name: str) -> float | None:
        """A quantity's standard deviation over the runs that have it; None for less than two."""
        values = self.values(name)
        return stdev(values) if len(values) > 1 else None

    def show_deviation(self, name: str) -> str:
        """A quantity's standard deviation as text; "" for a single run."""
        deviation = self.standard_deviation(name)
        return "" if deviation is None else f"± {QUANTITIES[name].show(deviation)}"

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of test accuracy: over seeds or, for a single run, over images."""
        if len(self.runs) > 1:
            return mean_interval(self.values("test_accuracy"))
        run = self.representative
        return proportion_interval(len(run.targets) - run.num_mistakes, len(run.targets))

    def mean_curve(self, name: str) -> dict[float, float]:
        """A column of the history by epoch, averaged over the runs, where all of them have it."""
        curves = [run.curve(name) for run in self.runs]
        epochs = [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)]
        return {epoch: fmean([curve[epoch] for curve in curves]) for epoch in epochs}


@dataclass(frozen=True, eq=False)
class SharedTest:
    """Settings that were tested on the same digits: only these can be compared.

    They are sorted by validation accuracy, the best first, and so are the ensembles that were
    tested on these digits. The sets of digits are named A, B, ...
    """

    settings: tuple[Setting, ...]
    name: str
    ensembles: tuple[TestedEnsemble, ...] = ()

    @property
    def targets(self) -> Digits:
        """`[N]` int64: the digits."""
        return self.settings[0].representative.targets

    @property
    def runs(self) -> list[Run]:
        """All runs of all settings."""
        return [run for setting in self.settings for run in setting.runs]

    def file_name(self, stem: str) -> str:
        """Name of a plot's file, different for each set of digits."""
        return f"{stem}.png" if self.name == "A" else f"{stem}_{self.name}.png"


@dataclass(frozen=True, eq=False)
class Comparison:
    """The contents of the report; the test of most settings comes first.

    Untested settings are sorted by validation accuracy, the best first. Repeats are runs that are
    not counted, because another run has the same settings and seed.
    """

    tests: list[SharedTest]
    untested: list[UntestedSetting]
    incomplete: list[Incomplete]
    skipped: list[Skipped]
    repeats: list[Skipped]

    @property
    def settings(self) -> list[Setting]:
        """All settings."""
        return [setting for test in self.tests for setting in test.settings]

    @property
    def runs(self) -> list[Run]:
        """All runs that were tested and are counted."""
        return [run for test in self.tests for run in test.runs]

    @property
    def finished(self) -> list[FinishedRun]:
        """All runs that are counted."""
        return [*self.runs, *(run for setting in self.untested for run in setting.runs)]


def group(selection: Selection) -> Comparison:
    """Group runs by setting, and settings by the digits they were tested on.

    A run that did not keep its settings is a setting of its own. Runs with the same settings and
    seed are not independent: only the last one, by the name of its folder, is counted.
    """
    ordered, repeats = _group_by_key(selection.runs, _key)
    settings = _make_labels_unique([Setting(_label(runs[0]), runs) for runs in ordered])
    settings.sort(key=lambda setting: (-setting.mean("val_accuracy"), setting.label))
    by_digits: dict[bytes, list[Setting]] = defaultdict(list)
    for setting in settings:
        by_digits[setting.representative.targets.tobytes()].append(setting)
    largest_first = sorted(by_digits.values(), key=lambda same: -len(same))
    by_accuracy = sorted(selection.ensembles, key=lambda one: -one.record.val_accuracy)
    tests = []
    for place, same in enumerate(largest_first):
        targets = same[0].representative.targets
        ensembles = [one for one in by_accuracy if np.array_equal(one.targets, targets)]
        tests.append(SharedTest(tuple(same), _letter(place), tuple(ensembles)))
    compared = [one for test in tests for one in test.ensembles]
    others = [
        Skipped(one.folder, "an ensemble that was tested on other digits than the runs")
        for one in by_accuracy
        if one not in compared
    ]
    untested, more_repeats = _group_untested(selection)
    skipped = [*selection.skipped, *others]
    return Comparison(tests, untested, selection.incomplete, skipped, repeats + more_repeats)


def _group_untested(selection: Selection) -> tuple[list[UntestedSetting], list[Skipped]]:
    ordered, repeats = _group_by_key(selection.untested, _key_of_settings)
    settings = _make_labels_unique([UntestedSetting(_label(runs[0]), runs) for runs in ordered])
    settings.sort(key=lambda setting: (-fmean(setting.val_accuracies), setting.label))
    return settings, repeats


def _group_by_key(
    runs: Sequence[RunKind], key: Callable[[RunKind], str]
) -> tuple[list[tuple[RunKind, ...]], list[Skipped]]:
    """Group runs by key, sorted by seed, and list the repeats."""
    by_key: dict[str, dict[int, list[RunKind]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: str(run.folder)):
        by_key[key(run)][run.results.seed].append(run)
    repeats = [
        Skipped(run.folder, f"not counted: {last.folder} has the same settings and seed")
        for seeds in by_key.values()
        for *earlier, last in seeds.values()
        for run in earlier
    ]
    return [tuple(seeds[seed][-1] for seed in sorted(seeds)) for seeds in by_key.values()], repeats


def best_settings(name: str, settings: Sequence[Setting]) -> list[Setting]:
    """The settings with the best mean of a quantity; none if there are fewer than two."""
    means = {setting: setting.mean(name) for setting in settings}
    known = [value for value in means.values() if not math.isnan(value)]
    if len(settings) < 2 or not known:
        return []
    best = max(known) if QUANTITIES[name].is_higher_better else min(known)
    return [setting for setting, value in means.items() if value == best]


def shorten_overrides(overrides: Sequence[str]) -> list[str]:
    """Shorten overrides for a label: only the last part of each key, and short numbers."""
    short: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        bare = key.lstrip("+~").partition("@")[0]
        if bare in _UNNAMED_KEYS or bare.replace("/", ".").split(".")[0] in _UNNAMED_GROUPS:
            continue
        if bare == "experiment":
            short.insert(0, value)
        else:
            short.append(f"{key.rpartition('.')[2]}={_short_number(value)}")
    return short


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def _key(run: Run) -> str:
    """Make a key from the settings of a run and the digits that it was tested on."""
    return _key_of_settings(run) + hashlib.sha256(run.targets.tobytes()).hexdigest()


def _key_of_settings(run: FinishedRun) -> str:
    """Make a key from the settings of a run, without its seed."""
    if run.results.settings is None:
        return str(run.folder)
    return json.dumps([run.results.architecture, _without_seed(run)], sort_keys=True)


def _without_seed(run: FinishedRun) -> dict[str, Any]:
    return {name: value for name, value in (run.results.settings or {}).items() if name != "seed"}


def _label(run: FinishedRun) -> str:
    architecture = run.results.architecture
    if run.results.settings is None:
        return f"{architecture} {run.folder.resolve().name}"
    words = shorten_overrides(run.results.overrides)
    # The name of an experiment, such as lab/cnn, may contain the architecture.
    is_named = bool(words) and architecture in words[0].split("/")
    return " ".join(words if is_named else [architecture, *words])


def _short_number(value: str) -> str:
    """Shorten the numbers of 17 digits that searches propose."""
    try:
        return f"{float(value):.3g}" if len(value) > 8 else value
    except ValueError:
        return value


def _make_labels_unique(settings: list[SettingKind]) -> list[SettingKind]:
    """Add to equal labels the values in which the settings differ, or a number."""
    by_label: dict[str, list[SettingKind]] = defaultdict(list)
    for setting in settings:
        by_label[setting.label].append(setting)
    unique = []
    for label, same in by_label.items():
        flat = [flatten(_without_seed(setting.representative)) for setting in same]
        keys = sorted({key for values in flat for key in values})
        varied = [key for key in keys if len({str(values.get(key)) for values in flat}) > 1]
        for number, (setting, values) in enumerate(zip(same, flat, strict=True), 1):
            words: list[str] = [f"{key.rpartition('.')[2]}={values.get(key)}" for key in varied]
            if len(words) > _MAX_DISTINCTIONS or (len(same) > 1 and not words):
                words = [f"({number})"]
            unique.append(replace(setting, label=" ".join([label, *words])))
    return unique
