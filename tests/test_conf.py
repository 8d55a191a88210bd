"""Every file in conf/ composes, and asks of its target only what the target takes."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from mnist_vision.command import CONF_DIR
from mnist_vision.limits import LIMITS, check_limits
from tests.conftest import composed

FILES = sorted(path.relative_to(CONF_DIR) for path in Path(CONF_DIR).rglob("*.yaml"))
EXPERIMENTS = [
    path.relative_to("experiment").with_suffix("").as_posix()
    for path in FILES
    if path.parts[0] == "experiment"
]
CHOICES = [
    f"{path.parts[0]}={path.stem}"
    for path in FILES
    if len(path.parts) == 2 and path.parts[0] not in ("experiment", "hydra")
]


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
    header = (Path(CONF_DIR) / "experiment" / f"{experiment}.yaml").read_text()
    comments = "".join(line for line in header.splitlines() if line.startswith("#"))
    assert f"python -m mnist_vision.train experiment={experiment}" in comments
    assert "seeds" in comments
    assert "cores" in comments


@pytest.mark.parametrize("name", ["evaluate", "benchmark"])
def test_the_other_commands_compose(name):
    check_targets(composed(config_name=name))


def test_a_model_brings_its_recipe_and_gives_way_to_overrides():
    assert composed("model=cnn").optimizer["_target_"] == "torch.optim.Adam"
    assert composed("model=cnn", "optimizer=sgd").optimizer["_target_"] == "torch.optim.SGD"
    assert composed("model=cnn", "optimizer.lr=0.5").optimizer.lr == 0.5
    assert composed("experiment=speedrun", "optimizer.lr=0.5").optimizer.lr == 0.5


def test_every_limit_is_on_a_setting_that_exists():
    everything = [*map(composed, CHOICES), composed(config_name="benchmark")]
    for key in LIMITS:
        assert any(OmegaConf.select(config, key) is not None for config in everything), key
