"""Runs with each of the loggers of conf/logger, with several, and with none."""

import csv

import pytest

from mnist_vision.training.run import run as run_training
from tests.conftest import results_of

METRICS = {"train/loss", "train/accuracy", "train/lr", "val/accuracy", "test/accuracy", "test/f1"}


def csv_columns(version_dir):
    with (version_dir / "metrics.csv").open() as file:
        return {name for row in csv.DictReader(file) for name, value in row.items() if value}


def test_csv_keeps_metrics_and_hyperparameters(run):
    run_dir = run("logger=csv", "trainer.max_epochs=1")
    assert csv_columns(run_dir / "csv" / "version_0") >= METRICS
    assert "batch_size: 128" in (run_dir / "csv" / "version_0" / "hparams.yaml").read_text()


def test_a_resumed_run_keeps_the_metrics_that_it_wrote_before(run, run_config):
    run_dir = run("logger=csv", "trainer.max_epochs=1")
    before = (run_dir / "csv" / "version_0" / "metrics.csv").read_bytes()
    config = run_config("logger=csv", "trainer.max_epochs=2")
    config.ckpt_path = str(run_dir / "checkpoints" / "last.ckpt")
    run_training(config)
    assert (run_dir / "csv" / "version_0" / "metrics.csv").read_bytes() == before
    assert csv_columns(run_dir / "csv" / "version_1") >= METRICS


def test_several_loggers_get_the_same(run):
    run_dir = run("logger=[csv,tensorboard]", "trainer.max_epochs=1")
    assert csv_columns(run_dir / "csv" / "version_0") >= METRICS
    assert list((run_dir / "tensorboard").glob("events.*"))


@pytest.mark.parametrize("none", ["logger=[]", "~logger"])
def test_a_run_without_a_logger_has_its_results_all_the_same(run, none):
    run_dir = run(none)
    assert len(results_of(run_dir)["history"]) == 2
    assert "train/loss" in results_of(run_dir)["history"][0]
    names = {path.name for path in run_dir.iterdir()}
    assert not names & {"csv", "tensorboard", "lightning_logs"}


def test_mlflow_keeps_metrics_and_hyperparameters_in_the_run_directory(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    run_dir = run("logger=mlflow", "model=faster_rcnn", "trainer.max_epochs=1")
    client = mlflow.MlflowClient(f"sqlite:///{run_dir}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'mnist_vision'")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics.keys() >= METRICS | {"test/mAP0.5"}
    assert kept.data.params["optimizer/lr"] == "0.003"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wandb_keeps_each_job_of_a_sweep_by_itself_in_the_run_directory(run, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    seeds, finish = [], wandb.finish

    def check_and_finish():
        assert set(wandb.run.summary.keys()) >= METRICS
        seeds.append(wandb.run.config["seed"])
        finish()

    monkeypatch.setattr(wandb, "finish", check_and_finish)
    monkeypatch.setenv("WANDB_MODE", "online")  # Lightning sets it, from the option
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        run_dir = run("logger=wandb", "trainer.max_epochs=1", f"seed={seed}")
    assert wandb.run is None
    assert seeds == [1, 2]
    assert len(list((run_dir / "wandb").glob("offline-run-*/run-*.wandb"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
