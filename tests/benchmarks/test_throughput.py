import pytest
from hydra import initialize_config_dir

from mnist_vision.benchmarks import throughput
from mnist_vision.common.conf import CONF_DIR


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_architecture_is_measured_against_the_peak(config, digits, monkeypatch, precision):
    monkeypatch.setattr(throughput, "MATRIX_SIZE", 64)
    config.architectures = ["cnn"]
    config.precision = precision
    config.data.batch_size, config.data.val_size = 8, 100
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        rows = throughput.measure_architectures(config)
    assert [row.what for row in rows] == ["cnn, training", "cnn, inference"]
    assert all(row.ours > 0 and row.ratio > 0 for row in rows)
