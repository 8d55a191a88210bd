"""The answer in a few sentences: which model, at what cost, and is the difference real?"""

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.tables import Pair


@dataclass(frozen=True)
class Tile:
    """A figure that stands out.

    Args:
        title: What it is.
        value: The figure.
        label: Whose it is.
    """

    title: str
    value: str
    label: str


def headline(test: SharedTest, pairs: Sequence[Pair]) -> list[str]:
    """Says what was found, and how far it goes.

    Test accuracy is described; what may be chosen by is validation accuracy. The second sentence
    starts from the setting that it chooses.

    Args:
        test: The settings.
        pairs: Their comparisons, each setting's with the first among them.
    """
    chosen, *others = test.settings
    highest = max(test.settings, key=lambda setting: setting.mean("test_accuracy"))
    accuracy = f"{highest.mean('test_accuracy'):.4f}"
    interval = f"95 % interval {highest.interval.low:.4f} to {highest.interval.high:.4f}"
    details = f"{accuracy} ({_seeds(highest)}; {interval}) {_costs(highest)}"
    if not others:
        return [f"{highest.label} reaches a test accuracy of {details}."]
    choice = "the same" if chosen is highest else _with_accuracy(chosen)
    sentences = [
        f"{highest.label} has the highest mean test accuracy, {details}. That describes these "
        "results and chooses nothing: what chooses is validation accuracy, and it chooses "
        f"{choice}."
    ]
    against = [pair for pair in pairs if chosen in (pair.first, pair.second)]
    alike = [_other(pair, chosen) for pair in against if not pair.is_real]
    rest = "the one other setting" if len(others) == 1 else f"the {len(others)} other settings"
    if not alike:
        sentences.append(f"From {rest} it differs by more than chance explains.")
        return sentences
    cheapest = min([chosen, *alike], key=lambda setting: setting.mean("fit_seconds"))
    saying = (
        "none of these is cheaper to train"
        if cheapest is chosen
        else f"the cheapest of these to train is {_with_accuracy(cheapest)} {_costs(cheapest)}"
    )
    sentences.append(
        f"Of {rest}, {len(alike)} cannot be told from {chosen.label} by these digits; {saying}."
    )
    return sentences


def tiles(test: SharedTest) -> list[Tile]:
    """The extremes of several settings: most accurate, smallest, fastest."""
    if len(test.settings) == 1:
        return []
    highest = max(test.settings, key=lambda setting: setting.mean("test_accuracy"))
    found = [
        Tile("highest mean test accuracy", f"{highest.mean('test_accuracy'):.4f}", highest.label)
    ]
    for title, name, show in (
        ("fewest parameters", "num_parameters", "{:,.0f}"),
        ("shortest training", "fit_seconds", "{:,.1f} s"),
        ("fastest inference", "inference_ms", "{:.3f} ms/image"),
    ):
        least = min(test.settings, key=lambda setting: setting.mean(name))
        found.append(Tile(title, show.format(least.mean(name)), least.label))
    return found


def _other(pair: Pair, one: Setting) -> Setting:
    return pair.second if pair.first is one else pair.first


def _seeds(setting: Setting) -> str:
    return "1 seed" if len(setting.runs) == 1 else f"{len(setting.runs)} seeds"


def _costs(setting: Setting) -> str:
    return (
        f"with {setting.mean('num_parameters'):,.0f} parameters, "
        f"{setting.mean('fit_seconds'):,.1f} s of training and "
        f"{setting.mean('inference_ms'):.3f} ms an image"
    )


def _with_accuracy(setting: Setting) -> str:
    return f"{setting.label} (test accuracy {setting.mean('test_accuracy'):.4f})"
