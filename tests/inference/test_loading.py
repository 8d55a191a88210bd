import numpy as np
import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.inference.checkpoint_network import CheckpointNetwork
from mnist_vision.inference.loading import load_network
from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.training.checkpoints import load_classifier, read_checkpoint
from tests.training.conftest import MISSING, changed


def test_the_name_of_the_file_chooses(trained, onnx_content, tmp_path):
    (tmp_path / "some.ONNX").write_bytes(onnx_content)
    assert isinstance(load_network(tmp_path / "some.ONNX"), OnnxNetwork)
    assert isinstance(load_network(trained()[1]), CheckpointNetwork)


def test_a_checkpoint_gives_its_networks_probabilities(trained):
    path = trained()[1]
    model, network = load_classifier(path), load_network(path)
    assert network.architecture == "cnn"
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        wanted = model.probabilities(model(images)).numpy()
    np.testing.assert_allclose(network(images.numpy()).probabilities, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "is_for_scenes"),
    [
        ("mnist_vision.data.scenes.mnist_scenes.MNISTScenesDataModule", True),
        ("mnist_vision.data.datamodule.MNISTDataModule", False),
        ("os.system", False),
        (MISSING, False),
    ],
)
def test_the_data_of_the_training_say_what_it_is_for(trained, tmp_path, target, is_for_scenes):
    checkpoint = read_checkpoint(trained()[1])
    path = ("run", "settings", "data", "_target_")
    torch.save(changed(checkpoint, path, target), tmp_path / "some.ckpt")
    assert load_network(tmp_path / "some.ckpt").is_for_scenes is is_for_scenes


def test_a_checkpoint_without_settings_is_for_single_digits(trained, tmp_path):
    torch.save(changed(read_checkpoint(trained()[1]), ("run",), MISSING), tmp_path / "some.ckpt")
    assert not load_network(tmp_path / "some.ckpt").is_for_scenes


def test_a_foreign_checkpoint_is_refused(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "some.ckpt")
    with pytest.raises(UserError, match=r"^ckpt_path=.*not a checkpoint of this program"):
        load_network(tmp_path / "some.ckpt")
