from hydra import initialize_config_dir

from mnist_vision.benchmarks import onnx_speed
from mnist_vision.common.conf import CONF_DIR


def test_an_exported_network_is_compared_with_torch(config, monkeypatch):
    monkeypatch.setattr(onnx_speed, "NUM_SINGLE", 2)
    config.architectures = ["cnn"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        rows = onnx_speed.measure_export(config)
    assert [row.what for row in rows] == ["export: cnn, 1 image", "export: cnn, 256"]
    assert all(row.ours > 0 and row.theirs > 0 and row.ratio > 0 for row in rows)
