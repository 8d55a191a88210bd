import pytest
from lightning import Trainer

from mnist_vision.data.scenes.mnist_scenes import MNISTScenesDataModule
from mnist_vision.models.faster_rcnn import FasterRCNN
from tests.data.scenes.helpers import blots


@pytest.fixture
def make(digits, monkeypatch):
    """Makes a data module of 500 training, 100 validation and 200 test blots, all set up."""
    monkeypatch.setattr(
        "mnist_vision.data.datamodule.load_split",
        lambda root, split: blots(600 if split == "train" else 200, seed=len(split)),
    )

    def make_datamodule(**settings):
        small = {"num_train_scenes": 300, "num_val_scenes": 60, "num_test_scenes": 90}
        small |= {"augmentation": None}
        datamodule = MNISTScenesDataModule("nowhere", val_size=100, **(small | settings))
        datamodule.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        datamodule.trainer.strategy.connect(FasterRCNN(widths=[2, 2]))
        datamodule.setup("fit")
        datamodule.setup("test")
        return datamodule

    return make_datamodule
