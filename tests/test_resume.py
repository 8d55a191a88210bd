import pytest

from mnist_vision.resume import earlier_settings, find_run, keep_environment
from tests.conftest import composed


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints").mkdir()
    overrides = "- optimizer=sgd\n- model.widths=[8,9]\n- ckpt_path=older.ckpt\n"
    overrides += "- sweep=optuna_cnn\n- sweep.resume=true\n"
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text(overrides)
    return tmp_path / "run"


def test_a_checkpoint_leads_to_its_run_and_its_settings(run_dir):
    last = run_dir / "checkpoints" / "last.ckpt"
    assert find_run(str(last)) == run_dir
    arguments = ["trainer.max_epochs=3", f"ckpt_path={last}"]
    assert earlier_settings(arguments) == [
        "optimizer=sgd", "model.widths=[8,9]", "sweep=optuna_cnn", "hydra.mode=RUN",
    ]  # fmt: skip


def test_other_checkpoints_and_none_lead_nowhere(run_dir, tmp_path):
    assert find_run(None) is None
    assert find_run(str(tmp_path / "last.ckpt")) is None
    assert earlier_settings([f"ckpt_path={tmp_path}/last.ckpt"]) == []
    assert earlier_settings(["seed=1"]) == []


def test_a_process_started_by_lightning_has_all_settings_already(run_dir, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert earlier_settings([f"ckpt_path={run_dir}/checkpoints/last.ckpt"]) == []


@pytest.mark.parametrize("path", ["/data/vgg16.pth", "it's here.pth"])
def test_what_came_from_the_environment_is_found_again_without_it(run_dir, monkeypatch, path):
    monkeypatch.setenv("VGG16_WEIGHTS", path)
    keep_environment(composed("experiment=lab/vgg16"), run_dir)
    monkeypatch.delenv("VGG16_WEIGHTS")
    *_, taken, _ = earlier_settings([f"ckpt_path={run_dir}/checkpoints/last.ckpt"])
    assert composed("experiment=lab/vgg16", taken).model.weights == path


def test_a_run_without_a_record_gets_none(tmp_path, monkeypatch):
    monkeypatch.setenv("VGG16_WEIGHTS", "vgg16.pth")
    keep_environment(composed("experiment=lab/vgg16"), tmp_path)
    assert not list(tmp_path.iterdir())
