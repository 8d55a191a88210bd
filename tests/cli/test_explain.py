import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mnist_vision.cli.explain import explain, first_line, similar
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import UserError


def explained(error):
    return explain(error, lambda: ["optimizer.lr", "model"])


def explained_override(*overrides):
    """Explain what Hydra raises for a command line."""
    with (
        initialize_config_dir(str(CONF_DIR), version_base="1.3"),
        pytest.raises(Exception, match=r"\S") as error,
    ):
        compose("train", list(overrides))
    line = explained(error.value)
    assert line.isprintable()
    return line


def test_user_errors_are_shown_unchanged():
    assert explained(UserError("a.ckpt: gone")) == "a.ckpt: gone"


def test_an_os_error_names_the_file():
    with pytest.raises(FileNotFoundError) as error:
        open("/no/such/file")  # noqa: SIM115
    assert explained(error.value) == "/no/such/file: No such file or directory"


def test_the_cause_of_a_failed_instantiation_is_given_with_its_key():
    config = OmegaConf.create({"part": {"_target_": "datetime.date", "year": "x"}})
    with pytest.raises(Exception, match="datetime") as error:
        instantiate(config.part)
    assert explained(error.value).startswith("part: ")
    assert "\n" not in explained(error.value)


def test_an_error_without_a_message_shows_that_of_its_cause():
    error = RuntimeError()
    error.__cause__ = ValueError("\n\nthe reason\nand more")
    assert first_line(error) == "the reason"
    assert first_line(RuntimeError()) == "RuntimeError"


def test_only_similar_words_are_suggested():
    assert similar("optimzer", ["optimizer", "model"]) == "; did you mean optimizer?"
    assert similar("xyz", ["optimizer", "model"]) == ""
    assert (
        similar("lrr", ["optimizer.lr", "model"], separator=".") == "; did you mean optimizer.lr?"
    )


def test_nested_choices_are_known_and_suggested():
    line = explained_override("experiment=lab/cn")
    assert line.startswith("experiment=lab/cn: unknown; did you mean lab/cnn? Known: speedrun, ")
    assert "best/cnn, " in line


def test_choices_of_all_folders_are_known(tmp_path):
    (tmp_path / "my conf" / "experiment" / "mine").mkdir(parents=True)
    (tmp_path / "my conf" / "experiment" / "mine" / "small.yaml").touch()
    search_path = f"hydra.searchpath=['file://{tmp_path / 'my conf'}']"
    line = explained_override(search_path, "experiment=mine/smal")
    assert "did you mean mine/small?" in line
    assert "lab/cnn" in line


def test_a_group_without_choices_of_its_own_is_named(tmp_path):
    (tmp_path / "part" / "of").mkdir(parents=True)
    (tmp_path / "part" / "of" / "it.yaml").touch()
    (tmp_path / "main.yaml").write_text("defaults:\n  - part: of/it\n")
    with (
        initialize_config_dir(str(tmp_path), version_base="1.3"),
        pytest.raises(Exception, match="part") as error,
    ):
        compose("main", ["part=of/at"])
    assert explained(error.value) == "part=of/at: unknown; did you mean of/it? Known: of/it"


VALUES = [
    "outputs/lr=0.1,b/last.ckpt",
    "outputs/a,b/last.ckpt",
    "a b=c",
    "[1,2",
    "runs (1)/last.ckpt",
    "{x",
    "l'été/last.ckpt",
    'say "x"',
    """both ' and " are here""",
    "back\\slash=\\",
    "(ends in \\",
    "${not.a.key",
    "a=${not.a.key}",
    "$HOME=`ls`",
    "数字",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_outside_the_grammar_is_shown_as_it_can_be_typed(value):
    line = explained_override(f"ckpt_path={value}")
    assert line.startswith(f"ckpt_path={value}: ")
    (argument,) = shlex.split(line.partition("; if it is text, type ")[2])
    override = OverridesParser.create().parse_override(argument)
    assert override.key_or_group == "ckpt_path"
    assert OmegaConf.create({"ckpt_path": override.value()}).ckpt_path == value


def test_each_value_of_a_list_is_quoted_alone():
    line = explained_override("input=[~/a.png,b c.png]")
    (argument,) = shlex.split(line.partition("; if it is text, type ")[2])
    override = OverridesParser.create().parse_override(argument)
    assert list(OmegaConf.create({"input": override.value()}).input) == ["~/a.png", "b c.png"]


def test_a_value_of_two_lines_is_one_line():
    assert explained_override("ckpt_path=a\nb") == (r"ckpt_path=a\nb: Hydra cannot parse the value")


@pytest.mark.parametrize("argument", ["vgg16", "model = cnn", "a,b=c"])
def test_an_argument_that_is_no_setting_is_explained(argument):
    expected = f"{argument}: must be GROUP=CHOICE or KEY=VALUE, without spaces around ="
    assert explained_override(argument) == expected


@pytest.mark.parametrize("key", ["logger.wandb", "logger.wandb.settings"])
def test_an_extra_that_a_logger_needs_is_named(key):
    error = InstantiationException(f"Error in call\nfull_key: {key}")
    error.__cause__ = ModuleNotFoundError("No module named 'wandb'")
    assert explained(error) == "logger.wandb: is not installed; pip install 'mnist_vision[wandb]'"
