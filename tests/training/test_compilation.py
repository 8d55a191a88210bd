"""Training with compile=true."""

import pytest
import torch

from tests.conftest import results_of

SHORT = (
    "trainer.max_epochs=1", "trainer.limit_train_batches=3", "data.augmentation=null",
    "model.widths=[4,8]", "model.hidden=8", "logger=csv", "optimizer=sgd",
    "trainer.precision=32-true",
)  # fmt: skip


def test_a_compiled_network_learns_the_same(run):
    results, weights = [], []
    for setting in ("compile=false", "compile=true"):
        run_dir = run(*SHORT, setting)
        results.append(results_of(run_dir))
        weights.append(torch.load(run_dir / "checkpoints" / "best.ckpt")["state_dict"])
    plain, compiled = results
    assert "compile" not in plain["settings"]
    assert compiled["settings"]["compile"] is True
    assert compiled["train"]["loss"] == pytest.approx(plain["train"]["loss"], rel=1e-4)
    assert compiled["test"]["num_mistakes"] == pytest.approx(plain["test"]["num_mistakes"], abs=2)
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-4)


def test_a_missing_compiler_is_named_before_anything_is_written(command, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    done = command("train", "compile=true", "trainer=cpu")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: compile=true: torch.compile does not work here (")
    assert "install a C++ compiler" in line
    assert not (tmp_path / "outputs").exists()
