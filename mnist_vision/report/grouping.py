"""Which runs belong together: those of one setting, and settings tested on the same digits."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.report.selection import Run, Skipped
from mnist_vision.report.statistics import (
    Interval,
    mean,
    mean_interval,
    proportion_interval,
    standard_deviation,
)
from mnist_vision.runs.predictions import Digits

# Overrides that say where a run writes and how it was started, not what it was.
_UNNAMED_KEYS = {"seed", "model", "output_dir", "ckpt_path", "data.root", "data.download"}
_UNNAMED_GROUPS = {"search", "sweep", "hydra", "logger"}
# More settings than this would not be a name any more.
_MAX_DISTINCTIONS = 3


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ in nothing but their seed.

    Args:
        label: What it is called: short, and no other setting's.
        runs: One a seed, by seed.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def representative(self) -> Run:
        """The run of the lowest seed: whichever it is, its test result did not choose it."""
        return self.runs[0]

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.representative.results.architecture

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """`[N]`: whether the representative is right, digit by digit."""
        return np.equal(self.representative.preds, self.representative.targets)

    def values(self, name: str) -> list[float]:
        """A figure of each run."""
        return [run.figures[name] for run in self.runs]

    def mean(self, name: str) -> float:
        """A figure's mean over the runs."""
        return mean(self.values(name))

    def standard_deviation(self, name: str) -> float | None:
        """A figure's standard deviation over the runs; None of a single one."""
        return standard_deviation(self.values(name))

    @cached_property
    def interval(self) -> Interval:
        """The 95 % interval of test accuracy: over seeds or, of a single run, over images."""
        if len(self.runs) > 1:
            return mean_interval(self.values("test_accuracy"))
        run = self.representative
        return proportion_interval(len(run.targets) - run.num_mistakes, len(run.targets))

    def per_epoch(self, name: str) -> list[float]:
        """A column of the history, a mean over the runs; as long as the shortest of them."""
        rows = zip(*(run.results.history for run in self.runs), strict=False)
        return [mean([row[name] for row in same_epoch]) for same_epoch in rows]


@dataclass(frozen=True, eq=False)
class SharedTest:
    """Settings that were tested on the same digits: only these can be compared.

    Args:
        settings: By validation accuracy, the best first.
    """

    settings: tuple[Setting, ...]

    @property
    def targets(self) -> Digits:
        """`[N]` int64: the digits."""
        return self.settings[0].representative.targets

    @property
    def num_runs(self) -> int:
        """How many runs the settings have together."""
        return sum(len(setting.runs) for setting in self.settings)


def group(runs: Iterable[Run]) -> tuple[list[SharedTest], list[Skipped]]:
    """Puts together what belongs together.

    A run that did not keep its settings stands by itself. Of runs with the same settings and the
    same seed, which are not independent, the last counts, by the names of their folders.

    Returns:
        The tests, that of most settings first, and the runs that do not count.
    """
    by_key: dict[str, dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: str(run.folder)):
        by_key[_key(run)][run.results.seed].append(run)
    repeats = [
        Skipped(run.folder, f"has the settings and the seed of {last.folder}, which counts")
        for seeds in by_key.values()
        for *earlier, last in seeds.values()
        for run in earlier
    ]
    ordered = [tuple(seeds[seed][-1] for seed in sorted(seeds)) for seeds in by_key.values()]
    settings = _distinguish([Setting(_label(one_each[0]), one_each) for one_each in ordered])
    settings.sort(key=lambda setting: (-setting.mean("val_accuracy"), setting.label))
    by_test: dict[bytes, list[Setting]] = defaultdict(list)
    for setting in settings:
        by_test[setting.representative.targets.tobytes()].append(setting)
    tests = [SharedTest(tuple(same)) for same in by_test.values()]
    return sorted(tests, key=lambda test: -len(test.settings)), repeats


def shorten_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides as a name is made of them: the last part of each key, and short numbers."""
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


def _key(run: Run) -> str:
    """What runs of one setting share."""
    if run.results.settings is None:
        return str(run.folder)
    settings = {name: value for name, value in run.results.settings.items() if name != "seed"}
    digits = hashlib.sha256(run.targets.tobytes()).hexdigest()
    return json.dumps([run.results.architecture, settings, digits], sort_keys=True)


def _label(run: Run) -> str:
    if run.results.settings is None:
        return f"{run.results.architecture} {run.folder.resolve().name}"
    words = shorten_overrides(run.results.overrides)
    # lab/cnn says the architecture already.
    is_said = bool(words) and run.results.architecture in words[0].split("/")
    return " ".join(words if is_said else [run.results.architecture, *words])


def _short_number(value: str) -> str:
    """Searches propose numbers of seventeen digits."""
    try:
        return f"{float(value):.3g}" if len(value) > 8 else value
    except ValueError:
        return value


def _distinguish(settings: list[Setting]) -> list[Setting]:
    """Gives settings of the same name what they differ in or, at the last, a number."""
    by_label: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        by_label[setting.label].append(setting)
    named = []
    for label, same in by_label.items():
        flat = [_flatten(setting.representative.results.settings) for setting in same]
        keys = sorted({key for one in flat for key in one})
        varied = [key for key in keys if len({one.get(key) for one in flat}) > 1]
        for number, (setting, own) in enumerate(zip(same, flat, strict=True), 1):
            words = [f"{key.rpartition('.')[2]}={own.get(key)}" for key in varied]
            if len(words) > _MAX_DISTINCTIONS or (len(same) > 1 and not words):
                words = [f"({number})"]
            named.append(replace(setting, label=" ".join([label, *words])))
    return named


def _flatten(node: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and what stands behind them, without the seed."""
    if not isinstance(node, dict):
        return {prefix[:-1]: str(node)}
    flat: dict[str, str] = {}
    for key, child in node.items():
        if f"{prefix}{key}" != "seed":
            flat |= _flatten(child, f"{prefix}{key}.")
    return flat
