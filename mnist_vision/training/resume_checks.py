"""Check that a run can go on from a checkpoint, before anything is changed."""

import os
import reprlib
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer, WeightAveraging
from torch import Tensor
from torch.optim import Optimizer

from mnist_vision.common.errors import UserError, first_line
from mnist_vision.common.tensor_files import find_not_finite
from mnist_vision.models.classifier import DigitClassifier, OptimizerFactory, SchedulerFactory
from mnist_vision.training.checkpoints import check_weights, name_unresumable


def check_resumable(
    checkpoint: dict[str, Any],
    path: str | os.PathLike[str],
    model: DigitClassifier,
    recipe: tuple[OptimizerFactory, SchedulerFactory],
    trainer: Any,
) -> None:
    """Check that the state of training fits the parts of a run, which stay as they are.

    Args:
        checkpoint: What `read_resumable` read.
        path: Its file, for the error.
        model: The network.
        recipe: What makes its optimizer and its schedule.
        trainer: Lightning's trainer, with all callbacks.

    Raises:
        UserError: Naming the first part that is missing or does not fit.
    """
    check_weights(checkpoint, "state_dict", model, path)
    if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):
        # The averages are in state_dict, and the weights that are trained are here.
        check_weights(checkpoint, "current_model_state", model, path)
    progress, usual = checkpoint["loops"]["fit_loop"], trainer.fit_loop.state_dict()
    problem = (
        _find_unlike_shared(progress, usual, "loops.fit_loop")
        or _check_recipe(checkpoint, model, *recipe)
        or _check_callbacks(checkpoint, trainer)
    )
    if problem is not None:
        raise UserError(f"{name_unresumable(path)}: {problem}")


def _check_recipe(
    checkpoint: dict[str, Any],
    model: DigitClassifier,
    make_optimizer: OptimizerFactory,
    make_scheduler: SchedulerFactory,
) -> str | None:
    """Find what of the states does not fit the optimizer or the schedule."""
    (states,), (schedule,) = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    optimizer = make_optimizer(model.parameter_groups())
    scheduler = make_scheduler(optimizer, 1)
    usual, usual_schedule = optimizer.state_dict()["param_groups"], scheduler.state_dict()
    rates = {key: usual_schedule[key] for key in ("base_lrs", "_last_lr") if key in usual_schedule}
    name = "lr_schedulers[0]"
    try:
        unlike = _find_unlike(schedule, rates, name)
        unlike = unlike or _find_unlike_shared(schedule, usual_schedule, name)
        scheduler.load_state_dict(dict(schedule))
        name = "optimizer_states[0]"
        optimizer.load_state_dict(states)  # it adds what earlier versions of torch did not have
    except KeyError as error:
        return f"{name}.{error.args[0]} is missing"
    except Exception as error:  # of any kind, as the states may be anything
        return f"{name}: {first_line(error)}"
    groups = optimizer.state_dict()["param_groups"]
    unlike = unlike or _find_unlike(groups, usual, f"{name}.param_groups")
    return unlike or _check_optimizer_state(optimizer, make_optimizer, checkpoint["global_step"])


def _check_optimizer_state(
    optimizer: Optimizer, make_optimizer: OptimizerFactory, num_steps: int
) -> str | None:
    """Compare the states of the weights with those after a step of the same optimizer."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if num_steps and not optimizer.state and _state_after_a_step(make_optimizer, weights[0]):
        return f"optimizer_states[0].state is empty after {num_steps} steps"
    for index, weight in enumerate(weights):
        if weight not in optimizer.state:  # it has not been trained yet
            continue
        state, name = optimizer.state[weight], f"optimizer_states[0].state[{index}]"
        usual = _state_after_a_step(make_optimizer, weight)
        tensors = {f"{name}.{key}": v for key, v in state.items() if isinstance(v, Tensor)}
        problem = _find_unlike(state, usual, name) or find_not_finite(tensors)
        if problem is not None:
            return problem
    return None


def _state_after_a_step(make_optimizer: OptimizerFactory, weight: Tensor) -> dict[str, Any]:
    """Get what the optimizer keeps for a weight of this shape; empty if it keeps nothing."""
    like = torch.zeros_like(weight, requires_grad=True)
    like.grad = torch.zeros_like(like)
    optimizer = make_optimizer([{"params": [like]}])
    optimizer.step(lambda: 0.0)
    kept: dict[str, Any] = optimizer.state.get(like, {})
    return kept


def _check_callbacks(checkpoint: dict[str, Any], trainer: Any) -> str | None:
    """Find a callback whose state is missing or of the wrong types."""
    for callback in trainer.callbacks:
        usual, name = callback.state_dict(), type(callback).__name__
        if not usual or isinstance(callback, Timer):  # a Timer comes with trainer.max_time
            continue
        state = checkpoint["callbacks"].get(callback.state_key)
        if not state:
            return f"callbacks: the state of {name} is missing"
        # What is in dictionaries depends on the run and the machine.
        usual = {key: {} if isinstance(value, dict) else value for key, value in usual.items()}
        unlike = _find_unlike_shared(state, usual, f"callbacks.{name}")
        if unlike is not None:
            return unlike
        averaging = checkpoint.get("averaging_state") or {}
        if isinstance(callback, WeightAveraging) and list(averaging) != ["n_averaged"]:
            return f"averaging_state={reprlib.repr(averaging)}: must hold n_averaged alone"
    return None


def _find_unlike(state: Any, usual: Any, name: str) -> str | None:
    """Find the first part that is missing or has another type or shape than in a new run.

    What a new run has as None or as an empty list may be anything.
    """
    if usual is None or (isinstance(usual, float) and type(state) is int):
        return None
    # A callback may keep a subclass of a dictionary, such as an OrderedDict.
    is_alike = isinstance(state, dict) if isinstance(usual, dict) else type(state) is type(usual)
    if not is_alike:
        return f"{name}={reprlib.repr(state)}: must be of type {type(usual).__name__}"
    if isinstance(usual, Tensor) and state.shape != usual.shape:
        return f"{name} has shape {list(state.shape)}, must have {list(usual.shape)}"
    parts: list[tuple[Any, Any, str]] = []
    if isinstance(usual, dict):
        missing = [key for key in usual if key not in state]
        if missing:
            return f"{name}.{missing[0]} is missing"
        parts = [(state[key], usual[key], f"{name}.{key}") for key in usual]
    elif isinstance(usual, list | tuple) and usual:
        if len(state) != len(usual):
            return f"{name}: holds {len(state)} values, must hold {len(usual)}"
        parts = [(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(state, usual, strict=True))]
    return next(filter(None, (_find_unlike(*part) for part in parts)), None)


def _find_unlike_shared(state: dict[str, Any], usual: dict[str, Any], name: str) -> str | None:
    """Do the same with the keys that both have: other versions of libraries have other keys."""
    return _find_unlike(state, {key: usual[key] for key in usual if key in state}, name)
