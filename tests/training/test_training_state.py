import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.training.checkpoints import read_checkpoint
from mnist_vision.training.training_state import parse_training_state
from tests.training.conftest import MISSING, changed

FIT = ("loops", "fit_loop")
EPOCHS = (*FIT, "epoch_progress", "current")
STEPS = (*FIT, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total")
OPTIMIZER = ("optimizer_states", 0)
SCHEDULE = ("lr_schedulers", 0)
HISTORY = ("callbacks", "History")
LAST = ("callbacks", "LastCheckpoint")
BEST = ("callbacks", "BestCheckpoint")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"),
        ("callbacks=ema", "scheduler=none"),
        ("callbacks=early_stopping",),
    ],
)
def test_what_a_run_writes_is_whole(trained, settings):
    _, last = trained(*settings)
    state = parse_training_state(read_checkpoint(last), "it")
    assert state.num_epochs == 1
    assert state.global_step == 2
    assert not state.is_within_epoch
    # The best one is written at a validation, before the end of its epoch.
    best = parse_training_state(read_checkpoint(last.with_name("best.ckpt")), "it")
    assert best.num_epochs == 0
    assert best.is_within_epoch


REFUSED = [
    (("epoch",), MISSING, "epoch is missing"),
    (("global_step",), -1, "global_step=-1: must be greater than or equal to 0"),
    (("pytorch-lightning_version",), "new", "pytorch-lightning_version='new': "),
    (("optimizer_states",), MISSING, "optimizer_states is missing"),
    (("optimizer_states",), [], "optimizer_states=[]: must hold one state, holds 0"),
    (("optimizer_states",), [{}], "optimizer_states[0].state is missing"),
    (("optimizer_states",), 3, "optimizer_states=3: must be a valid list"),
    ((*OPTIMIZER, "state"), [], "optimizer_states[0].state=[]: must be a valid dictionary"),
    ((*OPTIMIZER, "param_groups"), [{}], "optimizer_states[0].param_groups[0].params is missing"),
    (
        (*OPTIMIZER, "param_groups", 0, "params"),
        [1, 0],
        "must number all weights in their order",
    ),
    (("lr_schedulers",), [], "lr_schedulers=[]: must hold one state, holds 0"),
    (("lr_schedulers",), [{}], "lr_schedulers[0].last_epoch is missing"),
    ((*SCHEDULE, "base_lrs"), [torch.nan], "base_lrs[0]=nan: must be a finite number"),
    (("loops",), MISSING, "loops is missing"),
    (("loops",), {}, "loops.fit_loop is missing"),
    ((*FIT, "epoch_progress"), MISSING, "loops.fit_loop.epoch_progress is missing"),
    ((*FIT, "epoch_loop.batch_progress"), {}, "epoch_loop.batch_progress.total is missing"),
    ((*EPOCHS, "processed"), MISSING, "epoch_progress.current.processed is missing"),
    ((*EPOCHS, "processed"), "1", "epoch_progress.current.processed='1': must be a valid integer"),
    ((*EPOCHS, "started"), 3, "processed=1: must be that of ready=1 and started=3, or one less"),
    ((*EPOCHS, "completed"), 3, "current.processed=1: must be completed=3, or one more"),
    ((*STEPS, "completed"), 0, "must count 2 optimizer steps, not 0"),
    (("callbacks",), [], "callbacks=[]: must be a valid dictionary"),
    (("callbacks", "Other"), 3, "callbacks.Other=3: must be a valid dictionary"),
    ((*HISTORY, "rows"), MISSING, "callbacks.History: rows is missing"),
    ((*HISTORY, "rows"), [], "callbacks.History: the rows of 1 epochs are missing"),
    ((*HISTORY, "rows", 0, "train/loss"), MISSING, "the rows of 1 epochs are missing"),
    ((*HISTORY, "rows", 0, "epoch"), 0, "the rows of 1 epochs are missing"),
    ((*HISTORY, "rows", 0, "val/f1"), torch.nan, "rows[0].val/f1=nan: must be a finite number"),
    ((*LAST, "generators"), MISSING, "callbacks.LastCheckpoint: generators is missing"),
    (
        (*LAST, "generators", "python"),
        (1, 2),
        "generators.python=(1, 2): must be the state of a random number generator",
    ),
    ((*LAST, "generators", "torch"), torch.ones(3), "must be the state of a random number"),
    ((*LAST, "generators", "numpy"), ("MT19937",), "must be the state of a random number"),
    (
        (*BEST, "best_model_score"),
        None,
        "callbacks.BestCheckpoint: best_model_score=None: must be a score, as there is a "
        "best_model_path",
    ),
    ((*BEST, "current_score"), torch.ones(2), "must be a tensor of one value"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_the_first_part_that_is_not_whole_is_named(trained, path, value, reason):
    checkpoint = read_checkpoint(trained()[1])
    with pytest.raises(UserError) as refused:
        parse_training_state(changed(checkpoint, path, value), "it")
    assert str(refused.value).startswith("it: ")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("wait_count", MISSING, "callbacks.EarlyStopping: wait_count is missing"),
        ("best_score", 3, "callbacks.EarlyStopping: best_score=3: must be an instance of Tensor"),
        ("stopping_reason", 99, "99 is not a valid EarlyStoppingReason"),
    ],
)
def test_the_state_of_early_stopping_is_whole(trained, key, value, reason):
    checkpoint = read_checkpoint(trained("callbacks=early_stopping")[1])
    spoilt = changed(checkpoint, ("callbacks", "EarlyStopping", key), value)
    with pytest.raises(UserError) as refused:
        parse_training_state(spoilt, "it")
    assert reason in str(refused.value)
