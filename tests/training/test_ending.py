"""What ends a training, and how a run goes on that ended so."""

import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.training.checkpoints import read_checkpoint
from tests.conftest import results_of

# Nothing changes at this rate, and without batch normalisation's averages.
SAME = ("optimizer.lr=1e-12", "model.batch_norm=false")
STOPPING = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", *SAME)


def without_times(results):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in results["history"]]


@pytest.mark.parametrize(
    ("settings", "ended_by", "epochs"),
    [
        (["trainer.max_epochs=2"], "trainer.max_epochs=2", 2),
        (["trainer.max_steps=5"], "trainer.max_steps=5", 1.25),
        (["trainer.max_steps=8"], "trainer.max_epochs=2", 2),
        (["trainer.max_epochs=9", *STOPPING], "Monitored metric val/accuracy did not improve", 2),
        (
            ["trainer.max_epochs=9", *STOPPING, "trainer.min_epochs=3"],
            "Monitored metric val/accuracy did not improve",
            3,
        ),
    ],
)
def test_the_record_and_the_terminal_say_what_ended_it(run, caplog, settings, ended_by, epochs):
    caplog.set_level("INFO")
    results = results_of(run(*settings))
    assert results["ended_by"].startswith(ended_by)
    assert results["epochs"] == epochs
    assert f"trained for        {epochs:g} epochs, ended by {ended_by}" in caplog.text


def test_a_run_ends_when_its_time_is_over(run):
    results = results_of(run("trainer.max_time=00:00:00:01", "trainer.max_epochs=10000"))
    assert results["ended_by"] == "trainer.max_time=00:00:00:01"
    assert results["history"][-1].keys() >= {"train/loss", "val/accuracy"}
    assert 0 < results["epochs"] < 10000
    assert results["seconds"]["fit"] < 30


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (["trainer.max_steps=6"], "already complete, ended by trainer.max_steps=6; set another"),
        (
            ["trainer.max_time=00:00:00:01", "trainer.max_epochs=10000"],
            "ended by trainer.max_time",
        ),
        (["trainer.max_epochs=9", *STOPPING], "already complete: Monitored metric val/accuracy"),
        (
            ["trainer.max_epochs=9", *STOPPING, "+callbacks.early_stopping.stopping_threshold=-1"],
            "already complete: Stopping threshold reached: val/accuracy = ",
        ),
    ],
)
def test_a_complete_run_is_not_trained_on_by_itself(run, settings, hint):
    run_dir = run(*settings)
    before = (run_dir / "results.json").read_bytes()
    with pytest.raises(UserError, match=hint):
        run(*settings, f"ckpt_path={run_dir}/checkpoints/last.ckpt")
    assert (run_dir / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    "settings",
    [["trainer.max_steps=6"], ["trainer.max_epochs=9", *STOPPING], ["trainer.max_epochs=2"]],
)
def test_a_run_that_lacks_its_results_only_gets_the_same(run, settings):
    run_dir = run(*settings)
    before = results_of(run_dir)
    (run_dir / "results.json").unlink()
    run(*settings, f"ckpt_path={run_dir}/checkpoints/last.ckpt")
    after = results_of(run_dir)
    assert without_times(after) == without_times(before)
    for key in ("best", "train", "test", "epochs", "ended_by"):
        assert after[key] == before[key]


def test_more_steps_continue_a_run_as_if_they_had_been_asked_for_at_once(run, run_config, tmp_path):
    """From its last whole epoch, as the order of the images within one is lost."""
    constant = ("scheduler=none", "trainer.max_epochs=3")
    run_dir = run(*constant, "trainer.max_steps=6")
    run(*constant, "trainer.max_steps=11", f"ckpt_path={run_dir}/checkpoints/last.ckpt")
    resumed, weights = results_of(run_dir), read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    assert (run_dir / "results_epoch_1.5.json").exists()
    at_once = run(*constant, "trainer.max_steps=11")
    assert without_times(resumed) == without_times(results_of(at_once))
    other = read_checkpoint(at_once / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(weights["state_dict"][name], other[name]) for name in other)
