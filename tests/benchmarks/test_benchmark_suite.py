import json
import sys

import pytest

from mnist_vision.benchmarks import benchmark_suite, detector_speed
from mnist_vision.benchmarks.harness import Row
from mnist_vision.common.errors import FieldError, UserError


def test_the_chosen_parts_are_measured_and_written(config, monkeypatch, tmp_path, caplog):
    rows = [Row("thing", 4.0, 2.0, "s", 2.0, "2 times")]
    monkeypatch.setitem(benchmark_suite.PARTS, "data", lambda config: rows)
    config.parts = ["data"]
    with caplog.at_level("INFO"):
        benchmark_suite.prepare(config)()
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert (written["device"], written["precision"]) == ("cpu", "32-true")
    (row,) = written["rows"]
    assert row["what"] == "thing"
    assert row["ratio"] == 2.0
    assert "thing" in caplog.text


def test_an_unknown_part_is_refused(config):
    config.parts = ["data", "dessert"]
    with pytest.raises(FieldError, match="parts=dessert: must be some of data, lightning, target"):
        benchmark_suite.prepare(config)


def test_an_accelerator_that_is_not_there_is_refused(config):
    config.accelerator = "tpu"
    with pytest.raises(FieldError, match="accelerator=tpu: must be one that torch can use here"):
        benchmark_suite.prepare(config)


def test_scenes_are_refused(config):
    config.data._target_ = "mnist_vision.data.scenes.mnist_scenes.MNISTScenesDataModule"
    del config.data.device
    with pytest.raises(UserError, match="data=mnist_scenes: the benchmark measures single digits"):
        benchmark_suite.prepare(config)


def test_the_table_leaves_out_what_is_not_compared():
    compared = Row("data path", 788146.64, 6816.91, "images/s", 115.6, "116 times as fast")
    lines = benchmark_suite.table([compared, Row("answer", 0.5, None, "s", None, "")]).splitlines()
    assert [line.split() for line in lines] == [
        ["ours", "theirs", "unit"],
        ["data", "path", "788,146.64", "6,816.91", "images/s", "116", "times", "as", "fast"],
        ["answer", "0.50", "s"],
    ]


def test_the_command_measures_an_epoch_and_the_detector(digits, monkeypatch, run_here):
    monkeypatch.setattr(detector_speed, "NUM_BATCHES", 1)
    monkeypatch.setattr(detector_speed, "NUM_WARMUPS", 1)
    small = (
        "repeats=1",
        "data.val_size=100",
        "data.batch_size=8",
        "data/augmentation=null",
    )  # 62 batches: enough to log
    code, output = run_here("benchmark", "parts=[lightning,detector]", *small)
    assert code == 0, output.err
    for row in ("training epoch", "detector, training", "detector, detection"):
        assert row in output.out


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("parts", "data", r"parts=data: must be a list, such as \[data\]"),
        ("architectures", "cnn", r"architectures=cnn: must be a list, such as \[cnn\]"),
        ("architectures", ["cnn", "resnet"], "architectures=resnet: must be some of alexnet, cnn"),
    ],
)
def test_what_to_measure_is_checked_first(config, key, value, problem):
    config[key] = value
    with pytest.raises(FieldError, match=problem):
        benchmark_suite.prepare(config)


def test_missing_packages_are_refused_before_anything_is_measured(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"parts=\[export\]: onnxscript is not installed; pip"):
        benchmark_suite.prepare(config)
    config.parts = ["data"]
    benchmark_suite.prepare(config)
