"""The data that the network of a checkpoint was trained on."""

from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.common.instantiation import make
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.runs.targets import check_targets
from mnist_vision.training.checkpoints import SETTINGS_KEY, stored_settings


def make_datamodule(config: DictConfig, checkpoint: dict[str, Any]) -> MNISTDataModule:
    """Make the data that the command line names or, with its changes, those of the training.

    Args:
        config: A command's configuration with `ckpt_path` and `data`.
        checkpoint: The contents of `ckpt_path`.

    Raises:
        UserError: If the command line names none, and the checkpoint lacks the settings of its run.
    """
    config = config.copy()
    OmegaConf.set_struct(config, False)
    if "_target_" not in config.data:
        trained_on = stored_settings(checkpoint, config.ckpt_path).settings.get("data")
        check_targets({"data": trained_on}, CONF_DIR, (), f"ckpt_path={shown(config.ckpt_path)}")
        config.data = merge_changes(trained_on, config.data)
    datamodule = make(config, "data")
    if not isinstance(datamodule, MNISTDataModule):
        raise UserError(
            f"ckpt_path={shown(config.ckpt_path)}: its settings name no data; add data=NAME"
        )
    return datamodule


def merge_changes(settings: Any, changes: DictConfig) -> Any:
    """Replace settings by those changes that are not null."""
    given = {key: value for key, value in changes.items() if value is not None}
    return OmegaConf.merge(settings, given)


def is_trained_on_scenes(checkpoint: dict[str, Any], path: str) -> bool:
    """Test whether a network was trained on images of several digits, by the settings of its run.

    Settings that are missing, or name data of another program, mean that it was not.

    Args:
        checkpoint: Its contents.
        path: Its file, for errors.

    Raises:
        UserError: If the settings are damaged.
    """
    if SETTINGS_KEY not in checkpoint:
        return False
    data = stored_settings(checkpoint, path).settings["data"]
    try:
        check_targets({"data": data}, CONF_DIR, (), path)
    except UserError:
        return False
    target = data.get("_target_")
    return target is not None and getattr(get_object(target), "gives_scenes", False)
