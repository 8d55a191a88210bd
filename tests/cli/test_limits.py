import pytest
from omegaconf import OmegaConf

from mnist_vision.cli.limits import check_limits
from mnist_vision.common.errors import FieldError
from mnist_vision.evaluation.corruptions.suite import SUITES


def test_settings_that_a_configuration_lacks_are_not_checked():
    check_limits(OmegaConf.create({"ckpt_path": "???", "trainer": {"accelerator": "cpu"}}))


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("optimizer", "lr", 0),
        ("optimizer", "lr", None),
        ("optimizer", "weight_decay", -1),
        ("optimizer", "momentum", 2),
        ("trainer", "max_epochs", 1.5),
        ("trainer", "log_every_n_steps", 0),
        ("trainer", "precision", "bf16-true"),
        ("trainer", "precision", "64-true"),
        ("trainer", "precision", 32),
    ],
)
def test_a_setting_out_of_range_is_named_in_full(group, key, value):
    with pytest.raises(FieldError, match=rf"^{group}\.{key}={value}: must be"):
        check_limits(OmegaConf.create({group: {key: value}}))


def test_a_setting_that_is_a_choice_is_answered_with_the_choices():
    with pytest.raises(
        FieldError, match=r"^precision=16-mixed: must be one of 32-true, bf16-mixed$"
    ):
        check_limits(OmegaConf.create({"precision": "16-mixed"}), "benchmark")


def test_every_suite_can_be_chosen():
    for name in (*SUITES, None):
        check_limits(OmegaConf.create({"suite": name}), "evaluate")
    with pytest.raises(FieldError, match=r"^suite=corruption: must be corruptions or null$"):
        check_limits(OmegaConf.create({"suite": "corruption"}), "evaluate")
