import json

import pytest
from hydra import initialize_config_dir

from mnist_vision.benchmarks import measures
from mnist_vision.benchmarks.beginner import BeginnerNetwork
from mnist_vision.benchmarks.measures import Row, measure_startup
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import FieldError
from tests.conftest import composed


@pytest.fixture
def config(tmp_path):
    config = composed("repeats=1", config_name="benchmark")
    config.output_dir = str(tmp_path)
    return config


def test_measures_are_taken_in_turns_and_medians_kept():
    order = []

    def measure(name, values):
        def once():
            order.append(name)
            return values.pop()

        return once

    medians = measures._in_turns([measure("a", [9, 1, 2]), measure("b", [5, 5, 6])], 3)
    assert medians == [2, 5]
    assert order == ["a", "b"] * 3


def test_the_asked_for_parts_are_measured_and_written(config, monkeypatch, tmp_path, caplog):
    rows = [Row("thing", 4.0, 2.0, "s", 2.0, "2 times")]
    monkeypatch.setattr(measures, "measure_data_path", lambda config: rows)
    config.parts = ["data"]
    with caplog.at_level("INFO"):
        measures.run(config)
    (row,) = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert row["what"] == "thing"
    assert row["ratio"] == 2.0
    assert "thing" in caplog.text


def test_an_unknown_part_is_refused(config):
    config.parts = ["data", "dessert"]
    with pytest.raises(FieldError, match="parts=dessert: must be some of data, lightning, target"):
        measures.run(config)


def test_the_start_is_timed(config):
    rows = measure_startup(config)
    assert [row.what for row in rows] == [
        "answer to --help",
        "answer to --cfg=job",
        "answer to optimzer.lr=1",
    ]
    assert all(row.ours > 0 for row in rows)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_architecture_is_measured_against_the_peak(config, digits, monkeypatch, precision):
    monkeypatch.setattr(measures, "MATRIX_SIZE", 64)
    config.architectures = ["cnn"]
    config.precision = precision
    config.data.batch_size, config.data.val_size = 8, 100
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        rows = measures.measure_architectures(config)
    assert [row.what for row in rows] == ["cnn, training", "cnn, inference"]
    assert all(row.ours > 0 and row.ratio > 0 for row in rows)


def test_convolutions_on_small_maps_are_compared_with_torchs(config):
    rows = measures.measure_small_maps(config)
    assert [row.what for row in rows] == ["conv, 4x4", "conv, 2x2"]
    assert all(row.ours > 0 and row.ratio == row.theirs / row.ours for row in rows)


def test_the_beginners_network_is_the_one_of_the_example():
    assert sum(p.numel() for p in BeginnerNetwork().parameters()) == 1_199_882
