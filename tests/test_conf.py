"""Every file in conf/ composes, alone and with others, and gives its target what it takes."""

import inspect
import itertools
import json
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_repository import ConfigRepository
from hydra.utils import get_object, instantiate
from lightning import Trainer
from omegaconf import OmegaConf

from mnist_vision.cli.limits import LIMITS, LIMITS_OF_COMMANDS, check_limits
from mnist_vision.common.conf import CONF_DIR
from tests.conftest import composed

FILES = sorted(path.relative_to(CONF_DIR) for path in CONF_DIR.rglob("*.yaml"))
GROUPS = sorted({path.parts[0] for path in FILES if len(path.parts) > 1} - {"hydra"})
# Folders of groups inside the folder of another group.
SUBGROUPS = ["data/augmentation"]
LOAD_CONFIG, LOADED = ConfigRepository.load_config, {}
# Only their files set keys of other groups; the others choose options of them at most.
SETTING_GROUPS = {"experiment", "search", "debug"}


def options(group):
    """Those of a group; one that lies in a folder by its path."""
    paths = (path.relative_to(group) for path in FILES if path.is_relative_to(group))
    names = [path.with_suffix("").as_posix() for path in paths]
    return [n for n in names if f"{group}/{n}".rpartition("/")[0] not in {*SUBGROUPS} - {group}]


def plain_options(group):
    """Those that are no recipe of a model or an experiment."""
    return [option for option in options(group) if "/" not in option]


EXPERIMENTS = options("experiment")
CHOICES = [f"{group}={each}" for group in (*GROUPS, *SUBGROUPS) for each in options(group)]
CHOICES = [choice for choice in CHOICES if not choice.startswith("experiment=")]


def targets(node):
    """Every mapping with a `_target_` at or below `node`."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from targets(child)


def check_targets(config):
    for node in targets(OmegaConf.to_container(config, resolve=False)):
        pytest.importorskip(node["_target_"].partition(".")[0])
        target = get_object(node["_target_"])
        parameters = inspect.signature(target).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            keys = {key for key in node if not key.startswith("_")}
            assert keys <= parameters.keys(), f"{node['_target_']} does not take {keys}"


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_its_targets_take_its_keys(choice):
    config = composed(choice)
    check_targets(config)
    check_limits(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_its_targets_take_its_keys(experiment):
    config = composed(f"experiment={experiment}")
    check_targets(config)
    check_limits(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_what_it_is_and_how_it_was_measured(experiment):
    header = (CONF_DIR / "experiment" / f"{experiment}.yaml").read_text()
    comments = "".join(line for line in header.splitlines() if line.startswith("#"))
    assert f"python -m mnist_vision.train experiment={experiment}" in comments
    assert "seeds" in comments
    assert "cores" in comments


COMMANDS = ["evaluate", "predict", "export", "serve", "benchmark"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_other_commands_compose(name):
    check_targets(composed(config_name=name))


def test_a_model_brings_its_recipe_and_gives_way_to_overrides():
    assert composed("model=cnn").optimizer["_target_"] == "torch.optim.Adam"
    assert composed("model=cnn", "optimizer=sgd").optimizer["_target_"] == "torch.optim.SGD"
    assert composed("model=cnn", "optimizer.lr=0.5").optimizer.lr == 0.5
    assert composed("experiment=speedrun", "optimizer.lr=0.5").optimizer.lr == 0.5


def test_every_limit_is_on_a_setting_that_exists():
    commands = {name: composed(config_name=name) for name in COMMANDS}
    for name, limits in LIMITS_OF_COMMANDS.items():
        assert limits.keys() <= commands[name].keys()
    everything = [*map(composed, CHOICES), *commands.values()]
    for key in LIMITS:
        group, _, name = key.rpartition(".")
        holders = [OmegaConf.select(config, group) if group else config for config in everything]
        assert any(holder is not None and name in holder for holder in holders), key


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_says_what_it_is(path):
    lines = (CONF_DIR / path).read_text().splitlines()
    header = next(line for line in lines if not line.startswith("# @package"))
    assert header.startswith("# ")


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parts[0] not in {*SETTING_GROUPS, "hydra"}], ids=str
)
def test_a_file_sets_no_key_of_another_group(path):
    """It may choose another group's option, so that one named on the command line replaces it."""
    text, content = (CONF_DIR / path).read_text(), OmegaConf.load(CONF_DIR / path)
    is_global = text.startswith("# @package _global_\n")
    assert is_global or "@package" not in text
    if len(path.parts) == 1 and path.stem == "train":
        assert not set(content) & set(GROUPS)
    elif len(path.parts) > 1:
        assert not is_global or set(content) == {"defaults", path.parts[0]}
        for default in content.get("defaults", []):
            if not isinstance(default, str):  # one of another group, not of the same
                (key,) = default
                name = key.removeprefix("override /")
                assert name in GROUPS or f"{path.parts[0]}/{name}" in SUBGROUPS


@pytest.mark.parametrize("data", options("data"))
def test_data_take_each_augmentation(data):
    for augmentation in options("data/augmentation"):
        chosen = OmegaConf.load(CONF_DIR / "data" / "augmentation" / f"{augmentation}.yaml")
        config = composed(f"data={data}", f"data/augmentation={augmentation}")
        assert config.data.augmentation.pictures == chosen.pictures


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_chooses_its_optimizer_and_scheduler(experiment):
    content = OmegaConf.load(CONF_DIR / "experiment" / f"{experiment}.yaml")
    assert not {"optimizer", "scheduler"} & content.keys()


@pytest.fixture
def in_conf_dir(monkeypatch):
    """One context for many compositions, and files that are read once: that halves the time."""

    def load_config(self, config_path):
        if config_path not in LOADED:
            LOADED[config_path] = LOAD_CONFIG(self, config_path)
        return LOADED[config_path]

    monkeypatch.setattr(ConfigRepository, "load_config", load_config)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


@cache
def nodes(*overrides):
    """The configuration as plain values, composed in the context of `in_conf_dir`."""
    config = compose("train", ["output_dir=.", *overrides])
    return OmegaConf.to_container(config, resolve=True)


@cache
def make(node_json, **arguments):
    return instantiate(json.loads(node_json), _convert_="all", **arguments)


def make_all(config):
    """Makes every part, each distinct one once, and the optimizer and its schedule."""
    assert config["trainer"]["accelerator"] in ("auto", "cpu", "gpu")
    make(
        json.dumps(config["trainer"] | {"accelerator": "cpu", "precision": "32-true"}), logger=False
    )
    make(json.dumps(config["model"]))
    make(json.dumps(config["data"]))
    optimizer = make(json.dumps(config["optimizer"]))([torch.zeros(1, requires_grad=True)])
    make(json.dumps(config["scheduler"]))(optimizer, 10)


@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("trainer", plain_options("trainer"))
def test_all_options_go_together_and_a_named_one_has_its_own_values(model, trainer, in_conf_dir):
    make_all(nodes(f"model={model}"))  # by its own recipe
    groups = ("optimizer", "scheduler", "data")
    debugs = [(), *((f"debug={each}",) for each in plain_options("debug"))]
    for *row, debug in itertools.product(*map(plain_options, groups), debugs):
        named = {group: f"{group}={each}" for group, each in zip(groups, row, strict=True)}
        named |= {"model": f"model={model}", "trainer": f"trainer={trainer}"}
        config = nodes(*named.values(), *debug)
        for group, choice in named.items():
            alone = nodes(choice, *(debug if group in ("data", "trainer") else ()))
            assert config[group] == alone[group], (named, debug)
        check_limits(OmegaConf.create(config))
        make_all(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_option_named_beside_an_experiment_has_its_own_values(experiment, in_conf_dir):
    pairs = zip(plain_options("optimizer"), plain_options("scheduler"), strict=True)
    for optimizer, scheduler in pairs:
        config = nodes(
            f"experiment={experiment}", f"optimizer={optimizer}", f"scheduler={scheduler}"
        )
        assert config["optimizer"] == nodes(f"optimizer={optimizer}")["optimizer"]
        assert config["scheduler"] == nodes(f"scheduler={scheduler}")["scheduler"]
        make_all(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_augmentation_named_beside_an_experiment_has_its_own_values(experiment, in_conf_dir):
    for augmentation in [*options("data/augmentation"), "[]"]:
        named = f"data/augmentation={augmentation}"
        config = nodes(f"experiment={experiment}", named)
        assert config["data"]["augmentation"] == nodes(named)["data"]["augmentation"], named


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_overfitting_augments_nothing(experiment, in_conf_dir):
    assert nodes(f"experiment={experiment}", "debug=overfit")["data"]["augmentation"] is None


@pytest.mark.parametrize("debug", options("debug"))
def test_debug_wins_over_experiments_and_searches(debug, in_conf_dir):
    wanted = OmegaConf.load(CONF_DIR / "debug" / f"{debug}.yaml").trainer
    wanted = {key: value for key, value in wanted.items() if not OmegaConf.is_config(value)}
    others = [choice for choice in CHOICES if choice.startswith("search=")]
    for other in [f"experiment={each}" for each in EXPERIMENTS] + others:
        assert nodes(other, f"debug={debug}")["trainer"].items() >= wanted.items(), other


def defaults_of(target):
    """A callable's defaults, as a YAML file would have them."""
    parameters = inspect.signature(get_object(target)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, each) for g in GROUPS if g not in SETTING_GROUPS for each in plain_options(g)],
)
def test_a_default_in_the_code_is_that_of_the_file(group, option):
    config = OmegaConf.to_container(composed(f"{group}={option}")[group], resolve=False)
    if group == "data":
        del config["augmentation"]  # a group of its own, whose files only have steps
    for node in targets(config):
        if node["_target_"].startswith("mnist_vision."):
            for name, default in defaults_of(node["_target_"]).items():
                assert node.get(name, default) == default, f"{node['_target_']} {name}"


def test_the_trainer_has_the_arguments_and_defaults_of_lightnings():
    ours = {
        "max_epochs": 10,
        "devices": 1,
        "plugins": [{"_target_": "mnist_vision.training.checkpoints.AtomicCheckpointIO"}],
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        "precision": "auto",
        # Lightning's own, which it writes None.
        "limit_train_batches": 1.0,
        "limit_val_batches": 1.0,
        "log_every_n_steps": 50,
    }
    left_out = {
        *("logger", "callbacks", "default_root_dir", "enable_checkpointing", "enable_progress_bar"),
        *("fast_dev_run", "barebones"),
        *("limit_test_batches", "limit_predict_batches", "model_registry"),
        "enable_autolog_hparams",
    }
    parameters = inspect.signature(Trainer).parameters
    lightnings = {name: p.default for name, p in parameters.items() if name not in left_out}
    trainer = OmegaConf.to_container(composed("trainer=default").trainer)
    assert trainer.pop("_target_") == "lightning.Trainer"
    assert trainer == lightnings | ours
    assert left_out < parameters.keys()
    text = (CONF_DIR / "trainer" / "default.yaml").read_text()
    assert all(name in text for name in left_out)


def test_a_mistyped_argument_of_the_trainer_gets_a_suggestion(run_task):
    code, output = run_task("trainer.gradient_clip_vla=1")
    assert code == 1
    assert "did you mean trainer.gradient_clip_val?" in output.err
