"""The lab's table: the figures of its write-up beside those of this project's runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath

from mnist_vision.report.blocks import Block, Cell, Section, Table
from mnist_vision.report.grouping import Comparison, Setting, best_settings, shorten_overrides
from mnist_vision.report.quantities import NOTHING, QUANTITIES
from mnist_vision.report.selection import Incomplete

QUANTITY_NAMES = ("train_loss", "train_accuracy", "test_accuracy", "test_f1")
# Settings shown of an architecture if the lab's recipe was not run.
MAX_SETTINGS = 10
# Losses shown of a run.
MAX_LOSSES = 20
MNIST_TEST_SIZE = 10_000
# Overrides that leave the lab's recipe as it is.
NO_CHANGES = ("trainer=gpu", "trainer.accelerator=", "trainer.precision=", "model.weights=")


@dataclass(frozen=True)
class Reported:
    """Figures of the write-up for an architecture: quantities by name, and losses per epoch."""

    title: str
    figures: dict[str, float]
    losses: tuple[float, ...] = ()
    is_pretrained: bool = False


REPORTED = {
    "cnn": Reported(
        "CNN",
        {"test_accuracy": 0.9904, "test_f1": 0.9904},
        (0.2536, 0.0872, 0.0663, 0.0539, 0.0445, 0.0405, 0.0345, 0.0322, 0.0269, 0.0245),
    ),
    "faster_rcnn": Reported(
        "Faster R-CNN", {"test_accuracy": 0.8960, "test_f1": 0.8608}, (0.0743, 0.0218, 0.0136)
    ),
    "vgg16": Reported(
        "VGG16",
        {"train_loss": 0.2746, "train_accuracy": 0.9127, "test_accuracy": 0.9850},
        is_pretrained=True,
    ),
    "alexnet": Reported(
        "AlexNet",
        {"train_loss": 0.2748, "train_accuracy": 0.9118, "test_accuracy": 0.9770},
        is_pretrained=True,
    ),
}


def _make_blocks(comparison: Comparison) -> list[Block]:
    settings = {name: _settings_of(name, comparison.settings) for name in REPORTED}
    jobs = {name: [job for job in comparison.incomplete if job.model == name] for name in REPORTED}
    if not any(settings.values()) and not any(jobs.values()):
        return []
    shown = [setting for same in settings.values() for setting in same]
    best = {name: best_settings(name, shown) for name in QUANTITY_NAMES}
    rows = []
    for name, reported in REPORTED.items():
        ours = [_setting_row(setting, reported, best) for setting in settings[name]]
        first, *others = ours or [_missing_row(jobs[name])]
        rows.append([Cell(reported.title), *first])
        rows += [[Cell(""), *row] for row in [*others, _reported_row(reported)]]
    titles = [QUANTITIES[name].title for name in QUANTITY_NAMES]
    columns = ("architecture", "source", *titles, "loss per epoch")
    return [Table(columns, rows, ("architecture", "source", "loss per epoch"))]


def _settings_of(architecture: str, settings: Sequence[Setting]) -> list[Setting]:
    """Select the lab's recipe if it was run, otherwise all settings of the architecture."""
    same = [one for one in settings if one.representative.results.architecture == architecture]
    by_recipe = [one for one in same if _follows(f"lab/{architecture}", one)]
    return by_recipe or same[:MAX_SETTINGS]


def _follows(experiment: str, setting: Setting) -> bool:
    """Test whether a setting is an experiment as it is, on any device and from any weights."""
    overrides = setting.representative.results.overrides
    changes = [each for each in overrides if not each.startswith(NO_CHANGES)]
    return shorten_overrides(changes) == [experiment]


def _setting_row(
    setting: Setting, reported: Reported, best: dict[str, list[Setting]]
) -> list[Cell]:
    means = [Cell(setting.show_mean(name), is_best=setting in best[name]) for name in best]
    by_epoch = setting.mean_curve("train/loss")
    losses = _losses([loss for epoch, loss in by_epoch.items() if epoch == int(epoch)])
    return [Cell(setting.label, _note(setting, reported)), *means, losses]


def _missing_row(jobs: Sequence[Incomplete]) -> list[Cell]:
    """Say why there is no run of an architecture."""
    dashes = [Cell(NOTHING)] * (len(QUANTITY_NAMES) + 1)
    if not jobs:
        return [Cell("not run"), *dashes]
    more = f" (and {len(jobs) - 1} more)" if len(jobs) > 1 else ""
    return [Cell(f"{jobs[0].status}{more}", jobs[0].reason), *dashes]


def _reported_row(reported: Reported) -> list[Cell]:
    values = {name: reported.figures.get(name, math.nan) for name in QUANTITY_NAMES}
    cells = [Cell(QUANTITIES[name].show(value)) for name, value in values.items()]
    return [Cell("the lab's write-up"), *cells, _losses(reported.losses)]


def _note(setting: Setting, reported: Reported) -> str:
    """Say how a setting differs from the write-up: seeds, weights, test images."""
    run = setting.representative
    notes = ["1 seed" if len(setting.runs) == 1 else f"mean of {len(setting.runs)} seeds"]
    weights = run.results.weights
    if weights is not None:
        notes.append(f"weights {PureWindowsPath(weights).name}")  # splits at both slashes
    elif reported.is_pretrained:
        notes.append("trained from scratch; the write-up used pretrained weights")
    if len(run.targets) != MNIST_TEST_SIZE:
        notes.append(f"on {len(run.targets):,} digits, not MNIST's {MNIST_TEST_SIZE:,}")
    return ", ".join(notes)


def _losses(losses: Sequence[float]) -> Cell:
    """Show the loss of each epoch or, of many, the first ones and the last."""
    words = [QUANTITIES["train_loss"].show(loss) for loss in losses]
    if len(words) > MAX_LOSSES:
        words = [*words[: MAX_LOSSES - 1], "...", words[-1]]
    return Cell(" ".join(words) or NOTHING)


SECTION = Section(
    "The lab",
    "The results of this project for each architecture, then the figures of the lab's write-up. "
    "Runs of the lab's recipe are shown or, if there are none, all settings of the architecture. A "
    "dash is a value that was not reported. Training accuracy is measured on 10,000 "
    "training images, the loss per epoch during training, on augmented images if the run has any.",
    _make_blocks,
)
