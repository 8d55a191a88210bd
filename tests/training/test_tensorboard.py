"""A run as the real TensorBoard server serves it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from mnist_vision.data.augmentation import Augmentation, RandomAffine
from mnist_vision.data.constants import MISSED
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import TestResult
from mnist_vision.models.classifier import predict
from mnist_vision.models.cnn import CNN
from mnist_vision.training.run import run as run_training
from mnist_vision.training.tensorboard import _worst_mistakes, log_start


@pytest.fixture
def outcome():
    """Twenty test images, of which number 4 is called a 9 and number 7 a 1, less surely."""
    targets = torch.arange(20) % 10
    scores = torch.eye(10)[targets] * 5
    scores[4, 9] = 20
    scores[7, 1] = 6
    pictures = torch.zeros(2, 1, 28, 28)
    predictions = predict(scores)
    return TestResult(
        targets, predictions, scores, pictures, {"test/accuracy": 0.9, "test/f1": 0.9}, 1.0
    )


def test_what_is_missed_is_shown_as_such(outcome):
    outcome.scores[4], outcome.predictions[4] = -torch.inf, MISSED
    probabilities = CNN().probabilities(outcome.scores)
    titles = {axes.get_title() for axes in _worst_mistakes(outcome, probabilities).axes}
    assert "4 missed" in titles


def test_the_worst_mistakes_come_surest_first(outcome):
    figure = _worst_mistakes(outcome, outcome.scores.softmax(dim=1))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title.split("  ")[0] for title in titles] == ["4 as 9", "7 as 1"]
    assert titles[0].endswith("100.0%")


def test_the_start_changes_neither_the_network_nor_the_random_numbers(digits, tmp_path):
    augmentation = Augmentation({"affine": RandomAffine(10, 2, 0.1)})
    datamodule = MNISTDataModule("", val_size=100, augmentation=augmentation)
    datamodule.setup("fit")
    model = CNN(widths=[2]).train()
    model.trainer = Trainer(logger=False, accelerator="cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    log_start(TensorBoardLogger(tmp_path), model, datamodule)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class FirstPassDiffers(CNN):
    """Adds something in its first pass alone, so that a second trace has another graph."""

    passes = 0

    def forward(self, images):
        self.passes += 1
        logits = super().forward(images)
        return logits + logits.new_ones(10) if self.passes == 1 else logits


def test_the_graph_is_logged_even_if_a_second_trace_would_differ(digits, tmp_path):
    datamodule = MNISTDataModule("", val_size=100, augmentation=None)
    datamodule.setup("fit")
    logger = TensorBoardLogger(tmp_path)
    model = FirstPassDiffers(widths=[4])
    model.trainer = Trainer(logger=False, accelerator="cpu")
    log_start(logger, model, datamodule)
    logger.finalize("success")
    (events,) = (path for path in tmp_path.rglob("events.*"))
    assert b"stages" in events.read_bytes()


def test_other_loggers_are_left_alone(tmp_path):
    logger = CSVLogger(tmp_path)
    log_start(logger, CNN(), None)


def get(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def server(digits, run_config, tmp_path):
    """A finished run behind a TensorBoard server; gives the address."""
    config = run_config()
    run_training(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path / "run")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    ) as process:
        address = f"http://127.0.0.1:{port}/data"
        deadline = time.monotonic() + 60
        try:
            while True:
                try:
                    if get(f"{address}/plugin/pr_curves/tags"):
                        break
                except (urllib.error.URLError, ConnectionError):
                    pass
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def test_the_server_shows_all_that_was_logged(server):
    (scalars,) = get(f"{server}/plugin/scalars/tags").values()
    assert scalars.keys() >= {
        "train/loss",
        "train/accuracy",
        "train/lr",
        "val/accuracy",
        "val/f1",
        "test/accuracy",
        "test/f1",
    }
    assert "hp_metric" not in scalars
    (images,) = get(f"{server}/plugin/images/tags").values()
    tested = {"confusion_matrix", "reliability", "worst_mistakes", "attributions"}
    assert images.keys() == {"train/images"} | {f"test/{name}" for name in tested}
    (curves,) = get(f"{server}/plugin/pr_curves/tags").values()
    assert curves.keys() == {f"test/precision_recall/{digit}" for digit in range(10)}
    (graph,) = get(f"{server}/plugin/graphs/info").values()
    assert graph["run_graph"]

    body = json.dumps({"experimentName": ""}).encode()
    headers = {"Content-Type": "application/json"}
    experiment = get(f"{server}/plugin/hparams/experiment", data=body, headers=headers)
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert names >= {"seed", "optimizer/name", "optimizer/lr", "model/widths", "batch_size"}
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert metrics == {"test/accuracy", "test/f1"}
