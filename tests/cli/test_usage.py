import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from mnist_vision.cli.usage import choices, help_text
from mnist_vision.common.conf import CONF_DIR
from tests.conftest import ROOT


def help_of(name, *overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
    return help_text("Do it.", config, get_args_parser())


def test_groups_are_listed_with_their_choices_nested_ones_too():
    lines = help_of("train").splitlines()
    assert "  model: alexnet, cnn, faster_rcnn, vgg16 (now cnn)" in lines
    (experiments,) = [line for line in lines if line.startswith("  experiment: ")]
    assert "lab/cnn" in experiments
    assert "now" not in experiments


def test_every_choice_that_is_listed_is_a_file():
    found = choices([ROOT / "conf"], "experiment")
    assert found
    assert all((ROOT / "conf" / "experiment" / f"{name}.yaml").is_file() for name in found)


def test_a_command_lists_its_own_groups_only():
    text = help_of("evaluate", "ckpt_path=x")
    assert "  data: mnist" in text
    assert "optimizer:" not in text
    assert "python -m mnist_vision.evaluate " in text


def test_settings_are_those_of_the_choices():
    text = help_of("train", "optimizer=sgd")
    assert "(now sgd)" in text
    shown = text.partition("Settings and their values:\n")[2]
    assert OmegaConf.create(shown).optimizer._target_ == "torch.optim.SGD"


@pytest.mark.parametrize("name", ["choice", "nested/choice"])
def test_folders_on_the_search_path_count(tmp_path, name):
    file = tmp_path / "a folder" / "experiment" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.touch()
    folder = str(tmp_path / "a folder")
    text = help_of("train", f"hydra.searchpath=['file://{folder}']")
    (experiments,) = [line for line in text.splitlines() if line.startswith("  experiment: ")]
    assert name in shlex.split(experiments.replace(",", " "))
    assert "lab/cnn" in experiments


def test_all_options_are_listed():
    text = help_of("train")
    for option in ("--help", "--multirun", "--cfg", "--config-dir"):
        assert f"  {option}" in text
