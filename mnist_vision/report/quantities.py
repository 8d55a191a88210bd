"""The quantities by which runs are compared.

To show another metric in the report, add it to `QUANTITIES`: the tables, results.csv and the
terminal take their columns from there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mnist_vision.data.label_errors import accuracy_without_label_errors
from mnist_vision.report.selection import Run

NOTHING = "–"  # noqa: RUF001 (an en dash: the value is not known)

Place = Literal["settings", "runs", "terminal"]


@dataclass(frozen=True)
class Quantity:
    """A quantity of a run.

    Args:
        title: Its column heading and axis label.
        of: Reads it from a run; NaN if the run does not have it.
        to_text: Formats it.
        places: The tables that show it; results.csv has all quantities.
        is_higher_better: Whether the best value is the highest or the lowest.
        shows_deviation: Whether the table of settings shows its standard deviation over seeds.
    """

    title: str
    of: Callable[[Run], float]
    to_text: Callable[[float], str]
    places: tuple[Place, ...]
    is_higher_better: bool = False
    shows_deviation: bool = False

    def show(self, value: float) -> str:
        """Format a value; NaN becomes a dash."""
        return NOTHING if math.isnan(value) else self.to_text(value)


def _share(title: str, of: Callable[[Run], float], *places: Place) -> Quantity:
    """Make a quantity between 0 and 1, the higher the better."""
    return Quantity(title, of, "{:.4f}".format, places, is_higher_better=True, shows_deviation=True)


def _without_label_errors(run: Run) -> float:
    """Compute it, as results of earlier versions lack it."""
    accuracy = accuracy_without_label_errors(run.targets, run.predictions)
    return math.nan if accuracy is None else accuracy


def _calibrated(run: Run, name: str) -> float:
    """Get a figure after temperature scaling; NaN from runs of earlier versions."""
    calibration = run.results.calibration
    return math.nan if calibration is None else float(getattr(calibration.after, name).value)


# By their names in results.csv, in the order of the columns.
QUANTITIES = {
    "train_loss": Quantity(
        "training loss", lambda run: run.results.train.loss, "{:.4f}".format, ("runs",)
    ),
    "train_accuracy": _share("training accuracy", lambda run: run.results.train.accuracy, "runs"),
    "val_accuracy": _share(
        "validation accuracy", lambda run: run.results.best.val_accuracy, "settings", "runs"
    ),
    "test_accuracy": _share(
        "test accuracy", lambda run: run.results.test.accuracy, "settings", "runs", "terminal"
    ),
    "test_accuracy_without_label_errors": _share(
        "test accuracy without label errors", _without_label_errors, "runs"
    ),
    "test_f1": _share("F1", lambda run: run.results.test.f1, "settings", "runs", "terminal"),
    "nll": Quantity(
        "negative log-likelihood", lambda run: _calibrated(run, "nll"), "{:.4f}".format, ()
    ),
    "ece": Quantity("calibration error", lambda run: _calibrated(run, "ece"), "{:.4f}".format, ()),
    "corrupted_accuracy": _share(
        "mean accuracy over corruptions",
        lambda run: math.nan if run.robustness is None else run.robustness.mean_accuracy,
        "runs",
    ),
    "num_mistakes": Quantity(
        "mistakes",
        lambda run: run.num_mistakes,
        lambda mean: f"{mean:,.1f}".removesuffix(".0"),
        ("settings", "runs"),
    ),
    "num_parameters": Quantity(
        "parameters",
        lambda run: run.results.num_parameters,
        "{:,.0f}".format,
        ("settings", "terminal"),
    ),
    "fit_seconds": Quantity(
        "training time, s",
        lambda run: run.results.seconds.fit,
        "{:,.1f}".format,
        ("settings", "runs", "terminal"),
    ),
    "inference_ms": Quantity(
        "inference time, ms/image",
        lambda run: 1000 * run.results.seconds.test / run.results.test.num_images,
        "{:.3f}".format,
        ("settings",),
    ),
}


def show_probability(p_value: float) -> str:
    """Format a p value."""
    return f"{p_value:.4f}" if p_value >= 0.0001 else f"{p_value:.0e}"


def quantities_in(place: Place) -> dict[str, Quantity]:
    """The quantities that a table shows, by name."""
    return {name: quantity for name, quantity in QUANTITIES.items() if place in quantity.places}
