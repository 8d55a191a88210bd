import pytest

from mnist_vision import training
from mnist_vision.checkpoints import read_checkpoint
from mnist_vision.errors import UserError
from tests.conftest import results_of


@pytest.mark.parametrize("missing", [False, True])
def test_the_best_checkpoint_comes_along_into_another_directory(run, run_config, tmp_path, missing):
    """The first epoch, made the best for good, must stay it."""
    run_dir = run("optimizer.lr=1e-9")
    history = results_of(run_dir)["history"]
    best = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")["epoch"]
    config = run_config("optimizer.lr=1e-9", "trainer.max_epochs=3")
    config.ckpt_path = str(run_dir / "checkpoints" / "last.ckpt")
    config.output_dir = str(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    if missing:
        (run_dir / "checkpoints" / "best.ckpt").unlink()
        with pytest.raises(UserError, match="the run's best checkpoint is gone"):
            training.run(config)
        return
    training.run(config)
    accuracies = [row["val/accuracy"] for row in results_of(tmp_path / "elsewhere")["history"]]
    assert accuracies[:2] == [row["val/accuracy"] for row in history]
    kept = read_checkpoint(tmp_path / "elsewhere" / "checkpoints" / "best.ckpt")["epoch"]
    assert kept == accuracies.index(max(accuracies))
    if kept == best:
        assert accuracies[2] <= accuracies[best]


def test_without_its_best_checkpoint_a_run_is_refused(run):
    with pytest.raises(UserError, match=r"callbacks\.best_checkpoint is missing"):
        run("~callbacks.best_checkpoint")
