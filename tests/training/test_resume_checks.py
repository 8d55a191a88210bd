import copy

import pytest
import torch
from hydra.utils import instantiate

from mnist_vision.common.errors import UserError
from mnist_vision.training.callbacks.history import History
from mnist_vision.training.checkpoints import read_checkpoint
from mnist_vision.training.resume_checks import check_resumable
from tests.training.conftest import MISSING, changed

NO_MOMENTUM = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false")
STATE = ("optimizer_states", 0, "state")
GROUP = ("optimizer_states", 0, "param_groups", 0)
SCHEDULE = ("lr_schedulers", 0)
FIT = ("loops", "fit_loop")


def check(config, checkpoint):
    """Check a checkpoint as a run with this configuration does."""
    recipe = instantiate(config.optimizer), instantiate(config.scheduler)
    callbacks = [*instantiate(config.callbacks, _convert_="all").values(), History()]
    trainer = instantiate(config.trainer, callbacks=callbacks, precision="32-true")
    model = instantiate(config.model, _convert_="all")
    check_resumable(checkpoint, "it.ckpt", model, recipe, trainer)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        NO_MOMENTUM,
        ("optimizer=sgd",),
        ("callbacks=ema", "scheduler=none"),
        ("callbacks=early_stopping",),
    ],
)
def test_what_a_run_writes_fits_it_and_stays_as_it_is(trained, settings):
    config, last = trained(*settings)
    for path in (last, last.with_name("best.ckpt")):
        checkpoint = read_checkpoint(path)
        before = copy.deepcopy(checkpoint)
        check(config, checkpoint)
        assert str(checkpoint) == str(before)


def test_the_start_of_a_run_has_no_state_of_the_optimizer_yet(trained):
    config, last = trained()
    steps = "epoch_loop.automatic_optimization.optim_progress"
    checkpoint = changed(read_checkpoint(last), STATE, {})
    checkpoint["global_step"] = 0
    checkpoint["loops"]["fit_loop"][steps]["optimizer"]["step"]["total"]["completed"] = 0
    check(config, checkpoint)


def refusal(config, checkpoint):
    with pytest.raises(UserError) as refused:
        check(config, checkpoint)
    message = str(refused.value)
    assert message.startswith("ckpt_path=it.ckpt: ")
    return message


REFUSED = [
    (STATE, {}, "optimizer_states[0].state is empty after 2 steps"),
    ((*STATE, 0), {}, "optimizer_states[0].state[0].step is missing"),
    ((*STATE, 0, "exp_avg"), MISSING, "optimizer_states[0].state[0].exp_avg is missing"),
    ((*STATE, 0, "exp_avg"), 3, "optimizer_states[0].state[0].exp_avg=3: must be of type Tensor"),
    (
        (*STATE, 0, "exp_avg"),
        torch.zeros(9),
        "optimizer_states[0].state[0].exp_avg has shape [9], must have [2, 1, 3, 3]",
    ),
    (
        (*STATE, 0, "exp_avg"),
        torch.full((2, 1, 3, 3), torch.nan),
        "18 of 18 values of optimizer_states[0].state[0].exp_avg are NaN or infinite",
    ),
    ((*GROUP, "params"), [0, 1], "doesn't match the size of optimizer's group"),
    ((*GROUP, "betas"), MISSING, "optimizer_states[0].param_groups[0].betas is missing"),
    (
        (*GROUP, "lr"),
        "fast",
        "param_groups[0].lr='fast': must be of type float",
    ),
    ((*SCHEDULE, "lr_lambdas"), MISSING, "lr_schedulers[0].lr_lambdas is missing"),
    ((*SCHEDULE, "base_lrs"), [0.1, 0.1], "lr_schedulers[0].base_lrs: holds 2 values, must hold 1"),
    ((*SCHEDULE, "_step_count"), "x", "lr_schedulers[0]._step_count='x': must be of type int"),
    (
        (*FIT, "epoch_loop.batch_progress", "is_last_batch"),
        MISSING,
        "loops.fit_loop.epoch_loop.batch_progress.is_last_batch is missing",
    ),
    (
        (*FIT, "epoch_loop.batch_progress", "current", "processed"),
        "x",
        "loops.fit_loop.epoch_loop.batch_progress.current.processed='x': must be of type int",
    ),
    (("callbacks",), {}, "callbacks: the state of History is missing"),
    (("callbacks", "History"), MISSING, "callbacks: the state of History is missing"),
    (("callbacks", "History"), {}, "callbacks: the state of History is missing"),
    (
        ("callbacks", "LastCheckpoint", "kth_value"),
        3,
        "callbacks.LastCheckpoint.kth_value=3: must be of type Tensor",
    ),
    (("state_dict", "head.5.bias"), MISSING, "does not fit cnn: it lacks head.5.bias"),
    (("state_dict", "head.5.bias"), torch.full((10,), torch.nan), "10 of 10 values of head.5.bias"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_the_first_part_that_does_not_fit_the_run_is_named(trained, path, value, reason):
    config, last = trained()
    assert reason in refusal(config, changed(read_checkpoint(last), path, value))


def test_the_machine_and_the_time_limit_may_change(trained):
    config, last = trained()
    checkpoint = read_checkpoint(last)
    (state,) = (s for k, s in checkpoint["callbacks"].items() if k.startswith("LastCheckpoint"))
    config = copy.deepcopy(config)
    config.trainer.max_time = "00:01:00:00"
    for generator in (None, torch.zeros(16, dtype=torch.uint8)):  # without and with a GPU
        state["generators"]["cuda"] = generator
        check(config, checkpoint)


def test_the_state_of_each_configured_callback_is_wanted(trained):
    _, last = trained()
    config, _ = trained("callbacks=early_stopping")
    assert "the state of EarlyStopping is missing" in refusal(config, read_checkpoint(last))


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("current_model_state",), MISSING, "current_model_state: is not a dictionary of plain"),
        (
            ("current_model_state", "head.5.bias"),
            torch.ones(9),
            "it is for 9 classes, MNIST has 10",
        ),
        (("averaging_state",), MISSING, "averaging_state={}: must hold n_averaged alone"),
        (("averaging_state",), {"n": 1}, "averaging_state={'n': 1}: must hold n_averaged alone"),
    ],
)
def test_averaged_weights_come_with_those_that_are_trained(trained, path, value, reason):
    config, last = trained("callbacks=ema", "scheduler=none")
    assert reason in refusal(config, changed(read_checkpoint(last), path, value))
