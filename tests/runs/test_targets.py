import pytest

from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import UserError
from mnist_vision.runs.settings import run_settings
from mnist_vision.runs.targets import check_targets
from tests.conftest import composed


def check(settings, typed=()):
    check_targets(settings, CONF_DIR, typed, "ckpt_path=a.ckpt")


@pytest.mark.parametrize(
    "choices",
    [
        (),
        ("model=vgg16", "optimizer=sgd", "callbacks=ema", "logger=[csv,tensorboard]"),
        ("model=faster_rcnn", "data=mnist_scenes", "scheduler=cosine"),
        ("callbacks=early_stopping",),
    ],
)
def test_what_this_program_is_configured_of_may_be_named(choices):
    check(run_settings(composed(*choices)))


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.RMSprop",
        "lightning.pytorch.callbacks.Timer",
        "lightning.pytorch.loggers.CSVLogger",
    ],
)
def test_known_optimizers_callbacks_and_loggers_may_be_named(target):
    check({"part": {"_target_": target}})


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "mnist_vision.data.download.subprocess.run",
        "mnist_vision.common.files.write_json",
        "lightning.pytorch.callbacks.os.system",
        "torch.optim.optimizer",
        "torch.optim.swa_utils.update_bn",
        "torch.load",
        "hydra.utils.get_method",
        "no.such.module",
        "",
    ],
)
@pytest.mark.parametrize("place", ["callbacks", "nested", "list"])
def test_nothing_else_may_be_named(target, place):
    part = {"_target_": target}
    settings = {
        "callbacks": {"callbacks": {"x": part}},
        "nested": {"model": {"_target_": "mnist_vision.models.cnn.CNN", "widths": part}},
        "list": {"trainer": {"plugins": [{"a": part}]}},
    }[place]
    with pytest.raises(UserError, match="is neither a part of this program nor a known") as info:
        check(settings)
    assert "\n" not in str(info.value)


def test_a_value_that_would_be_worked_out_is_refused():
    for text in ("${oc.env:HOME}", "${oc.decode:'{_target_: os.system}'}", "x${output_dir}${y}"):
        with pytest.raises(UserError, match="is not a plain value"):
            check({"data": {"root": [text]}})
    check({"callbacks": {"dirpath": "${output_dir}/checkpoints"}})


def test_what_the_user_has_typed_is_trusted():
    settings = {"callbacks": {"mine": {"_target_": "my.package.Callback"}}}
    with pytest.raises(UserError, match=r"add callbacks\.mine\._target_=my\.package\.Callback"):
        check(settings)
    check(settings, typed={"callbacks.mine._target_"})


@pytest.mark.parametrize("value", ["/etc/x", "a/b", "../x", "~/x", "file:./x", "http://host/x"])
@pytest.mark.parametrize("group", ["callbacks", "logger", "trainer"])
def test_a_part_may_write_inside_the_run_directory_alone(group, value):
    with pytest.raises(UserError, match="lies outside the run directory"):
        check({group: {"x": {"anything": value}}})
    check({group: {"x": {"anything": "${output_dir}/x"}}})


def test_a_metric_is_no_path():
    check({"callbacks": {"x": {"monitor": "val/accuracy"}}})
