"""The header of the report: the answer in a few sentences and figures."""

from mnist_vision.report.blocks import Block, Paragraph, Section, Tile, Tiles, for_each_test
from mnist_vision.report.grouping import Comparison, Setting, SharedTest
from mnist_vision.report.sections.differences import compare_pairs

# Tiles for the settings with the lowest values: title, quantity and unit.
_LOWEST = (
    ("fewest parameters", "num_parameters", ""),
    ("shortest training", "fit_seconds", " s"),
    ("fastest inference", "inference_ms", " ms/image"),
)


def sentences(test: SharedTest) -> list[str]:
    """Name the most accurate setting, its cost, and the settings that may be as good.

    Test accuracy is only described. The second sentence starts from the setting with the highest
    validation accuracy, by which a setting may be chosen.
    """
    chosen, *others = test.settings
    highest = _most_accurate(test)
    interval = f"95 % interval {highest.interval.low:.4f} to {highest.interval.high:.4f}"
    seeds = _count(len(highest.runs), "seed")
    details = f"{highest.show_mean('test_accuracy')} ({seeds}; {interval}), {_costs(highest)}"
    if not others:
        return [f"{highest.label} reaches a test accuracy of {details}."]
    choice = "this setting, too" if chosen is highest else _with_accuracy(chosen)
    return [
        f"{highest.label} has the highest mean test accuracy, {details}. Choose a setting by its "
        f"validation accuracy, which is highest for {choice}.",
        _describe_differences(test),
    ]


def _make_blocks(comparison: Comparison) -> list[Block]:
    num_runs, num_settings = len(comparison.runs), len(comparison.settings)
    counts = f"{_count(num_runs, 'run')} of {_count(num_settings, 'setting')}"
    if comparison.untested:
        number = sum(len(setting.runs) for setting in comparison.untested)
        counts = f"{counts} tested, {_count(number, 'run')} not tested"
    return [Paragraph(f"{counts}.", "soft"), *for_each_test(_make_test_blocks)(comparison)]


def _make_test_blocks(test: SharedTest) -> list[Block]:
    paragraphs: list[Block] = [Paragraph(text, "lead") for text in sentences(test)]
    if len(test.settings) == 1:
        return paragraphs
    highest = _most_accurate(test)
    accuracy = highest.show_mean("test_accuracy")
    tiles = [Tile("highest mean test accuracy", accuracy, highest.label)]
    for title, name, unit in _LOWEST:
        lowest = min(test.settings, key=lambda setting: setting.mean(name))
        tiles.append(Tile(title, f"{lowest.show_mean(name)}{unit}", lowest.label))
    return [*paragraphs, Tiles(tiles)]


def _describe_differences(test: SharedTest) -> str:
    """Compare the setting with the highest validation accuracy with all others."""
    chosen, *others = test.settings
    pairs = [pair for pair in compare_pairs(test) if pair.first is chosen]
    alike = [pair.second for pair in pairs if not pair.is_real]
    rest = "the other setting" if len(others) == 1 else f"all {len(others)} other settings"
    if not alike:
        return f"{chosen.label} differs from {rest} by more than chance explains."
    if len(others) > 1:
        number = "any" if len(alike) == len(others) else str(len(alike))
        rest = f"{number} of the {len(others)} other settings"
    cheapest = min([chosen, *alike], key=lambda setting: setting.mean("fit_seconds"))
    cost = (
        "none is cheaper to train"
        if cheapest is chosen
        else f"the cheapest to train is {_with_accuracy(cheapest)}, {_costs(cheapest)}"
    )
    return f"On these digits, {chosen.label} cannot be distinguished from {rest}; {cost}."


def _most_accurate(test: SharedTest) -> Setting:
    return max(test.settings, key=lambda setting: setting.mean("test_accuracy"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _costs(setting: Setting) -> str:
    return (
        f"with {setting.show_mean('num_parameters')} parameters, "
        f"{setting.show_mean('fit_seconds')} s of training and "
        f"{setting.show_mean('inference_ms')} ms per image"
    )


def _with_accuracy(setting: Setting) -> str:
    return f"{setting.label} (test accuracy {setting.show_mean('test_accuracy')})"


SECTION = Section(
    "Which model, at what cost, and is the difference real?",
    "Finished runs of mnist_vision, compared by their results on the test images.",
    _make_blocks,
)
