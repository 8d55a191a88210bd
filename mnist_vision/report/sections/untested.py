"""The runs without a test: how recipes compare on the validation images."""

from statistics import fmean, stdev

from mnist_vision.report.blocks import Block, Cell, Section, Table
from mnist_vision.report.grouping import Comparison, UntestedSetting

COLUMNS = ("#", "setting", "seeds", "validation accuracy", "range", "epochs", "training time, s")


def _make_blocks(comparison: Comparison) -> list[Block]:
    if not comparison.untested:
        return []
    rows = [_make_row(number, one) for number, one in enumerate(comparison.untested, 1)]
    return [Table(COLUMNS, rows, ("#", "setting"))]


def _make_row(number: int, setting: UntestedSetting) -> list[Cell]:
    accuracies = setting.val_accuracies
    deviation = f"± {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    results = [run.results for run in setting.runs]
    return [
        Cell(str(number)),
        Cell(setting.label),
        Cell(str(len(accuracies))),
        Cell(f"{fmean(accuracies):.4f}", deviation),
        Cell(f"{min(accuracies):.4f} to {max(accuracies):.4f}"),
        Cell(f"{fmean(each.epochs for each in results):g}"),
        Cell(f"{fmean(each.seconds.fit for each in results):,.1f}"),
    ]


SECTION = Section(
    "Not tested",
    "Settings that were trained with test=false: their highest validation accuracy, as a mean over "
    "seeds, ± the standard deviation (n - 1). A recipe that is chosen here has not seen the test "
    "images. The same command with sweep.resume=DIR and test=true tests the jobs of a sweep.",
    _make_blocks,
)
