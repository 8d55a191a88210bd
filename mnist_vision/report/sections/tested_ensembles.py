"""The ensembles: several networks tested together."""

from collections import Counter
from collections.abc import Sequence

from mnist_vision.report.blocks import Block, Cell, Details, Section, Table, for_each_test
from mnist_vision.report.grouping import SharedTest
from mnist_vision.report.quantities import show_probability
from mnist_vision.report.selection import TestedEnsemble


def ensembles_table(ensembles: Sequence[TestedEnsemble]) -> Table:
    """Make a row for each ensemble: its figures, and its comparison with its best member."""
    rows = []
    for ensemble in ensembles:
        record = ensemble.record
        calibration, best = record.calibration.after, record.best_member
        figures = [
            f"{record.val_accuracy:.4f}",
            f"{record.test.accuracy:.4f}",
            f"{record.test.f1:.4f}",
            f"{record.test.num_mistakes:,}",
            f"{calibration.nll.value:.4f}",
            f"{calibration.ece.value:.4f}",
            f"{record.members[0].test_accuracy:.4f}",
            f"{best.ensemble_only:,}",
            f"{best.member_only:,}",
            show_probability(best.p_value),
        ]
        rows.append([Cell(_name(ensemble), str(ensemble.folder)), *map(Cell, figures)])
    columns = (
        "ensemble",
        "validation accuracy",
        "test accuracy",
        "F1",
        "mistakes",
        "NLL",
        "ECE",
        "test accuracy of the best member",
        "only ensemble right",
        "only best member right",
        "p",
    )
    return Table(columns, rows, ("ensemble",))


def _make_blocks(test: SharedTest) -> list[Block]:
    if not test.ensembles:
        return []
    number = sum(len(ensemble.record.members) for ensemble in test.ensembles)
    details = Details(f"All members ({number})", _members_table(test.ensembles))
    return [ensembles_table(test.ensembles), details]


def _members_table(ensembles: Sequence[TestedEnsemble]) -> Table:
    rows = [
        [
            Cell(str(ensemble.folder)),
            Cell(member.ckpt_path),
            Cell(member.architecture),
            Cell(str(member.seed)),
            Cell(f"{member.val_accuracy:.4f}"),
            Cell(f"{member.test_accuracy:.4f}"),
        ]
        for ensemble in ensembles
        for member in ensemble.record.members
    ]
    texts = ("ensemble", "checkpoint", "architecture")
    return Table((*texts, "seed", "validation accuracy", "test accuracy"), rows, texts)


def _name(ensemble: TestedEnsemble) -> str:
    """Count the members by architecture, and the shifts: "3 cnn, 1 vgg16, 9 shifts"."""
    counted = Counter(member.architecture for member in ensemble.record.members)
    names = [f"{number} {name}" for name, number in sorted(counted.items())]
    if ensemble.record.shift:
        names.append(f"{(2 * ensemble.record.shift + 1) ** 2} shifts")
    return ", ".join(names)


SECTION = Section(
    "Ensembles",
    "Several networks read each digit, or one or more read it at several shifts; the mean of the "
    "probabilities decides. NLL and ECE "
    "(negative log-likelihood and expected calibration error) are those of the mean after "
    "temperature scaling on validation images. The best member is the one with the best validation "
    "accuracy, and reads each digit once. p is the probability, by McNemar's exact test, of a "
    "difference from it at least as large if neither were better.",
    for_each_test(_make_blocks),
)
