"""A first run prints no notices of libraries."""

import pytest


@pytest.mark.parametrize("logger", ["tensorboard", "mlflow"])
def test_libraries_print_nothing_on_a_first_run(command, tmp_path, monkeypatch, mnist_root, logger):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    done = command("train", "debug=smoke", f"logger={logger}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("cnn: ")
    assert second.startswith("epoch 1/1 ")
