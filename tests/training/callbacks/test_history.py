"""What a run measured, and when. An epoch has four steps."""

import pytest

from tests.conftest import results_of

MEASURED = {"train/accuracy", "val/accuracy"}


def moments(run_dir):
    """Epoch and step of each row, with whether it has validation metrics and a training loss."""
    return [
        (row["epoch"], row["step"], row.keys() >= MEASURED, "train/loss" in row)
        for row in results_of(run_dir)["history"]
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Less often than once an epoch, and at the end.
        (
            ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"],
            [(1, 4, False, True), (2, 8, True, True), (3, 12, True, True)],
        ),
        # More often.
        (
            ["trainer.val_check_interval=0.5", "trainer.max_epochs=2"],
            [(0.5, 2, True, False), (1, 4, True, True), (1.5, 6, True, False), (2, 8, True, True)],
        ),
        # At other moments than the end of an epoch.
        (
            ["trainer.val_check_interval=3", "trainer.max_epochs=2"],
            [
                (0.75, 3, True, False),
                (1, 4, False, True),
                (1.75, 7, True, False),
                (2, 8, True, True),
            ],
        ),
        (
            ["trainer.val_check_interval=6", "trainer.check_val_every_n_epoch=null"],
            [(1, 4, False, True), (1.5, 6, True, False), (2, 8, True, True)],
        ),
        # Ended by steps.
        (["trainer.max_steps=3"], [(0.75, 3, True, True)]),
        (["trainer.max_steps=6"], [(1, 4, True, True), (1.5, 6, True, True)]),
        (["trainer.max_steps=2", "trainer.accumulate_grad_batches=2"], [(1, 2, True, True)]),
    ],
)
def test_a_row_holds_what_was_measured_at_its_step(run, settings, expected):
    assert moments(run(*settings)) == expected


def test_a_metric_is_not_repeated_until_it_is_measured_again(run):
    run_dir = run("trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
    rows = results_of(run_dir)["history"]
    assert ["val/accuracy" in row for row in rows] == [False, True, False, True]
    assert len({row["train/loss"] for row in rows}) == 4


def test_rows_of_an_earlier_version_get_their_steps(run):
    from mnist_vision.runs.old_names import add_steps

    rows = [{"epoch": 1, "val/accuracy": 0.5}, {"epoch": 2}, {"epoch": 3, "step": 12}]
    assert [row["step"] for row in add_steps(rows, 12)] == [4, 8, 12]
