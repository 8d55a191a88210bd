"""What a run measured, and when. An epoch has four steps."""

import pytest
import torch

from mnist_vision.runs.old_names import add_steps
from tests.conftest import results_of

MEASURED = {"train/accuracy", "val/accuracy"}


def moments(run_dir):
    """Each row as "EPOCH at STEP", with "val" and "loss" if it has these metrics."""
    return [
        f"{row['epoch']:g} at {row['step']:g}"
        + (" val" if row.keys() >= MEASURED else "")
        + (" loss" if "train/loss" in row else "")
        for row in results_of(run_dir)["history"]
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Less often than once an epoch, and at the end.
        (
            ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"],
            ["1 at 4 loss", "2 at 8 val loss", "3 at 12 val loss"],
        ),
        # More often.
        (
            ["trainer.val_check_interval=0.5"],
            ["0.5 at 2 val", "1 at 4 val loss", "1.5 at 6 val", "2 at 8 val loss"],
        ),
        # At other moments than the end of an epoch.
        (
            ["trainer.val_check_interval=3"],
            ["0.75 at 3 val", "1 at 4 loss", "1.75 at 7 val", "2 at 8 val loss"],
        ),
        (
            ["trainer.val_check_interval=6", "trainer.check_val_every_n_epoch=null"],
            ["1 at 4 loss", "1.5 at 6 val", "2 at 8 val loss"],
        ),
        # Ended by steps.
        (["trainer.max_steps=3"], ["0.75 at 3 val loss"]),
        (["trainer.max_steps=6"], ["1 at 4 val loss", "1.5 at 6 val loss"]),
        (["trainer.max_steps=2", "trainer.accumulate_grad_batches=2"], ["1 at 2 val loss"]),
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
    rows = [{"epoch": 1, "val/accuracy": 0.5}, {"epoch": 2}, {"epoch": 3, "step": 12}]
    assert [row["step"] for row in add_steps(rows, 12)] == [4, 8, 12]


def test_a_run_of_an_earlier_version_goes_on(run):
    """Its rows have no steps."""
    run_dir = run()
    last = run_dir / "checkpoints" / "last.ckpt"
    for path in (last, run_dir / "checkpoints" / "best.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        for row in checkpoint["callbacks"]["History"]["rows"]:
            del row["step"]
        torch.save(checkpoint, path)
    run(f"ckpt_path={last}", "trainer.max_epochs=3")
    assert moments(run_dir) == ["1 at 4 val loss", "2 at 8 val loss", "3 at 12 val loss"]
