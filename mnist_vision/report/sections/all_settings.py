"""The table of all settings, with a table of all runs."""

from mnist_vision.report.blocks import Block, Cell, Details, Section, Table, for_each_test
from mnist_vision.report.grouping import Setting, SharedTest, best_settings
from mnist_vision.report.quantities import quantities_in
from mnist_vision.report.selection import Run


def settings_table(test: SharedTest) -> Table:
    """Make a row for each setting: its accuracy, with an interval, and its cost."""
    quantities = quantities_in("settings")
    best = {name: best_settings(name, test.settings) for name in quantities}
    columns = ["#", "setting", "seeds", *(quantity.title for quantity in quantities.values())]
    after_accuracy = columns.index(quantities["test_accuracy"].title) + 1
    columns.insert(after_accuracy, "95 % interval")
    rows = []
    for number, setting in enumerate(test.settings):
        row = [Cell(str(number + 1)), Cell(setting.label, colour=number)]
        row.append(Cell(str(len(setting.runs))))
        for name, quantity in quantities.items():
            deviation = setting.show_deviation(name) if quantity.shows_deviation else ""
            row.append(Cell(setting.show_mean(name), deviation, setting in best[name]))
        row.insert(after_accuracy, _interval(setting))
        rows.append(row)
    return Table(tuple(columns), rows, ("#", "setting"))


def _make_blocks(test: SharedTest) -> list[Block]:
    return [settings_table(test), Details(f"All runs ({len(test.runs)})", _runs_table(test))]


def _interval(setting: Setting) -> Cell:
    kind = "over seeds" if len(setting.runs) > 1 else "over images, 1 seed"
    return Cell(f"{setting.interval.low:.4f} to {setting.interval.high:.4f}", kind)


def _runs_table(test: SharedTest) -> Table:
    quantities = quantities_in("runs").values()
    rows = [
        [
            Cell(setting.label, colour=number),
            Cell(str(run.folder), _other_metrics(run)),
            Cell(str(run.results.seed)),
            Cell(f"{run.results.epochs:g}"),
            *(Cell(quantity.show(quantity.of(run))) for quantity in quantities),
        ]
        for number, setting in enumerate(test.settings)
        for run in setting.runs
    ]
    columns = ("setting", "folder", "seed", "epochs", *(one.title for one in quantities))
    return Table(columns, rows, ("setting", "folder"))


def _other_metrics(run: Run) -> str:
    """List the metrics that only some networks have, such as the mAP of a detector."""
    shown = {"accuracy", "accuracy_without_label_errors", "f1", "num_images", "num_mistakes"}
    metrics = run.results.test.model_dump().items()
    return ", ".join(f"{name} {value:g}" for name, value in metrics if name not in shown and value)


SECTION = Section(
    "All settings",
    "A setting is a group of runs that differ only in their seed. Values are means over seeds, "
    "± the standard deviation (n - 1). With several seeds, the interval is for the mean over seeds "
    "(Student's t). With one seed, it covers only the choice of test images (Wilson) and tells "
    "nothing about other seeds. The best value of each column is marked. Settings are sorted by "
    "validation accuracy, the only value by which a setting may be chosen.",
    for_each_test(_make_blocks),
)
