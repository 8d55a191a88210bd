import shlex
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mnist_vision.common.errors import UserError
from mnist_vision.runs.settings import (
    check_unchanged,
    command_line,
    figure_settings,
    fingerprint,
    flatten,
    make_paths_absolute,
    program,
    quoted,
    run_settings,
)
from tests.conftest import composed


def test_settings_are_plain_values_that_leave_the_output_directory_open(monkeypatch):
    monkeypatch.setenv("RATE", "0.25")
    settings = run_settings(composed("seed=3", "optimizer.lr='${oc.decode:${oc.env:RATE}}'"))
    assert settings.keys() == {
        "seed", "test", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger", "model",
        "suite", "compile",
    }  # fmt: skip
    assert settings["seed"] == 3
    assert settings["optimizer"]["lr"] == 0.25
    assert settings["data"]["root"] == "~/.cache/mnist_vision"
    assert settings["callbacks"]["best_checkpoint"]["dirpath"] == "${output_dir}/checkpoints"


def test_settings_of_figures_say_nothing_of_paths_and_logging():
    config = composed("seed=3", "model.hidden=64")
    settings = figure_settings(config)
    assert settings.keys() == {
        "seed", "data", "optimizer", "scheduler", "trainer", "callbacks", "model",
    }  # fmt: skip
    assert settings["model"]["hidden"] == 64
    assert not {"root", "download"} & settings["data"].keys()
    assert config.data.root  # the configuration itself stays as it is


def test_the_same_settings_have_the_same_fingerprint_however_they_were_asked_for():
    elsewhere = (
        "logger=csv", "data.root=/somewhere", "ckpt_path=x", "sweep.resume=true", "output_dir=/a",
        "overwrite=true", "suite=corruptions",
    )  # fmt: skip
    assert fingerprint(composed()) == fingerprint(composed("model=cnn", "seed=0", *elsewhere))


def test_other_settings_have_another_fingerprint():
    choices = ["seed=0", "seed=1", "optimizer.lr=0.1", "callbacks=ema", "model=vgg16"]
    assert len({fingerprint(composed(choice)) for choice in choices}) == len(choices)


def test_nested_settings_are_flattened_and_lists_stay():
    nested = {"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}
    assert flatten(nested) == {"a.b": [1, {"c": 2}], "a.d": {}, "e": None}


TEXTS = [
    "plain/a.ckpt", "a=b,c [d] {e} (f)", "it's", 'a "b"', "it's \"b\"", "ends in \\", "\\'",
    "ü 100 %", "~/x", "$HOME/${x}", "null", "3", "true", "", " a ", "a:b",
    "#a;b&c|d*e?f", "-m", "a\tb",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_quoted_text_is_the_text_again(text):
    override = OverridesParser.create().parse_override(f"key={quoted(text)}")
    assert OmegaConf.create({"key": override.value()}).key in (text, _plain(text))


def _plain(text):
    """What stands for itself without quotes: a number, a truth value, nothing."""
    return {"null": None, "3": 3, "true": True}.get(text, text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_printed_command_can_be_pasted(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / text / "last.ckpt"
    *_, argument = shlex.split(command_line("train", ckpt_path=path))
    override = OverridesParser.create().parse_override(argument)
    assert override.key_or_group == "ckpt_path"
    given = OmegaConf.create({"key": override.value()}).key
    assert tmp_path / given == path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("optimizer.lr=0.1", r"optimizer\.lr=0\.1: the run was trained with optimizer\.lr=0\.001"),
        ("model.widths=[8]", r"model\.widths=\[8\]: .* with model\.widths=\[16, 32, 64\]"),
        ("data.augmentation=null", r"data\.augmentation=null: .* trained without data\.augm"),
        ("~optimizer.weight_decay", r"~optimizer\.weight_decay: .* with optimizer\.weight_decay"),
        (
            "+optimizer.amsgrad=true",
            r"optimizer\.amsgrad=true: .* trained without optimizer\.amsgrad",
        ),
        ("seed=1", r"seed=1: the run was trained with seed=0, which cannot change .* leave it out"),
        ("callbacks=ema", r"callbacks\.averaging\._target_="),
        ("trainer.precision=bf16-mixed", r'with trainer\.precision="auto"'),
    ],
)
def test_a_change_that_a_run_cannot_go_on_with_is_refused(change, expected):
    stored = run_settings(composed())
    with pytest.raises(UserError, match=expected):
        check_unchanged(stored, composed(change))


def test_a_run_goes_on_with_another_length_device_data_folder_and_logger():
    changes = ("trainer.max_epochs=99", "trainer.devices=2", "trainer.accelerator=cpu")
    changes += ("data.root=/elsewhere", "data.download=false", "logger=csv", "output_dir=/x")
    changes += ("data.device=cpu",)
    check_unchanged(run_settings(composed()), composed(*changes))


def test_the_place_of_the_data_does_not_identify_a_run():
    places = ("data.root=/elsewhere", "data.download=false", "data.device=cpu")
    assert fingerprint(composed(*places)) == fingerprint(composed())
    # Nor do results of earlier versions have it.
    assert "device" not in figure_settings(composed())["data"]


def test_relative_paths_are_completed_and_names_and_homes_left_alone(tmp_path):
    (tmp_path / "w.pth").touch()
    config = composed("model=vgg16", "model.weights=w.pth", "data.root=d", "ckpt_path=a/b.ckpt")
    make_paths_absolute(config, str(tmp_path))
    assert config.model.weights == str(tmp_path / "w.pth")
    assert config.data.root == str(tmp_path / "d")
    assert config.ckpt_path == str(tmp_path / "a" / "b.ckpt")
    config = composed("model=vgg16", 'data.root="~/d"')
    make_paths_absolute(config, str(tmp_path))
    assert (config.model.weights, config.data.root) == ("IMAGENET1K_V1", "~/d")
    assert config.ckpt_path is None


def test_a_program_is_named_by_its_path_where_a_shell_would_not_find_it(monkeypatch, tmp_path):
    for name in ("python", "tensorboard"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    assert program("tensorboard") == "tensorboard"
    assert command_line("train", ckpt_path="a.ckpt").startswith("python -m mnist_vision.train ")
    monkeypatch.setenv("PATH", "/nowhere")
    assert program("tensorboard") == str(tmp_path / "tensorboard")
    monkeypatch.chdir(tmp_path.parent)
    assert program("python") == f"{tmp_path.name}/python"
    assert program("missing") == "missing"
