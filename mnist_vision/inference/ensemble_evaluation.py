"""Test the average of several networks, or of several shifts, on all test images; record it."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from tabulate import tabulate

from mnist_vision.common.accelerators import check_accelerator
from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.common.files import shown
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.ensembles import Answers, average, calibrate, compare
from mnist_vision.evaluation.measure import check_data, run_test, score_validation
from mnist_vision.evaluation.shift_averaging import ShiftAveraged
from mnist_vision.inference.checkpoint_data import make_datamodule
from mnist_vision.inference.loading import is_exported
from mnist_vision.inference.network_choice import as_list
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.ensemble_record import Ensemble, EnsembleMember
from mnist_vision.runs.finding import rank_runs
from mnist_vision.runs.settings import argument, flatten
from mnist_vision.runs.summary import figure_lines
from mnist_vision.training.checkpoints import (
    read_checkpoint,
    read_val_accuracy,
    rebuild_classifier,
    stored_settings,
)

log = logging.getLogger(__name__)

# Settings of the data that choose the validation images.
_SPLIT = ("val_size", "split_seed")
# Settings that change neither validation nor test images.
_FREE = ("root", "download", "batch_size", "eval_batch_size", "augmentation", "num_train_scenes")


@dataclass(frozen=True)
class _Member:
    """A network of an ensemble.

    Args:
        path: Its checkpoint.
        seed: The seed of its run.
        data: The data settings of its run, by dotted key.
        split: The settings of the validation images that the ensemble is to use, by key.
    """

    path: str
    seed: int
    data: dict[str, Any]
    split: dict[str, int]


@dataclass(frozen=True)
class _Tested:
    """A member, and how it answers.

    Args:
        member: Its record.
        alone: Its answers to the test images, each read once.
        validation: Its answers to validation images, averaged over shifts.
        test: Its answers to test images, averaged over shifts.
    """

    member: EnsembleMember
    alone: Answers
    validation: Answers
    test: Answers


def is_ensemble(config: DictConfig) -> bool:
    """Test whether a configuration of `evaluate` averages networks or shifts.

    Args:
        config: The composed `conf/evaluate.yaml`.
    """
    is_averaged = config.members is not None or config.shift > 0
    return is_averaged or _is_list(config) or _is_directory(config)


def prepare(config: DictConfig) -> Callable[[], float]:
    """Read networks, and check that they can be tested together; write nothing.

    Args:
        config: The composed `conf/evaluate.yaml`; `ckpt_path` is a list of checkpoints or a
            directory of runs, or with `shift` a checkpoint.

    Returns:
        What tests them, and returns the test accuracy of the ensemble.

    Raises:
        UserError: If a file cannot be used, or the members do not belong together.
    """
    quiet_libraries()
    OmegaConf.set_struct(config, False)
    if config.suite is not None:
        problem = "needs one network that reads each image once; leave out suite, members or shift"
        raise FieldError("suite", config.suite, problem)
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    members: list[_Member] = []
    digests: dict[str, str] = {}
    for path in _choose_paths(config):
        member = _read_member(path, config)
        _check_new(path, digests)
        _check_split(member, (members or [member])[0].split)
        if members and "_target_" not in config.data:
            _check_same_data(members[0], member)
        members.append(member)
    return partial(_test, members, config)


def _is_list(config: DictConfig) -> bool:
    return isinstance(config.ckpt_path, ListConfig)


def _is_directory(config: DictConfig) -> bool:
    return not _is_list(config) and os.path.isdir(os.path.expanduser(str(config.ckpt_path)))


def _choose_paths(config: DictConfig) -> list[str]:
    """List the checkpoints of the members: all, or `members` of the best validation accuracy.

    Raises:
        UserError: If they are too few, or one is an exported file.
    """
    is_single = config.members is None and not _is_directory(config)
    if _is_list(config) or is_single:
        paths = as_list(config, "ckpt_path")
        for path in paths:
            if is_exported(path):
                raise UserError(
                    f"ckpt_path={shown(path)}: its probabilities cannot be averaged, as an ONNX "
                    "file does not name the validation images of its run; give the checkpoint"
                )
        if config.members is not None:
            paths.sort(key=lambda path: -read_val_accuracy(read_checkpoint(path), path))
    elif _is_directory(config):
        folder = Path(config.ckpt_path).expanduser()
        paths = [str(directory.best_checkpoint) for _, directory in rank_runs(folder)]
    else:
        raise FieldError(
            "members",
            config.members,
            "chooses among several networks; give ckpt_path=[A,B,C] or a directory of runs",
        )
    _check_number(paths, config)
    return paths[: config.members]


def _check_number(paths: Sequence[str], config: DictConfig) -> None:
    """Refuse less than two networks without shifts, or less than `members`."""
    where = f"ckpt_path={'[...]' if _is_list(config) else shown(config.ckpt_path)}"
    if not paths:
        raise UserError(
            f"{where}: no completed run in it; give a checkpoint, or a directory of runs"
        )
    if len(paths) < 2 and not config.shift:
        raise UserError(
            f"{where}: names one network, and an ensemble has at least 2; test it alone with "
            f"{argument('ckpt_path', paths[0])}"
        )
    if config.members is not None and config.members > len(paths):
        problem = f"must be at most {len(paths)}, the number of networks in ckpt_path"
        raise FieldError("members", config.members, problem)


def _load(
    path: str, config: DictConfig, checkpoint: dict[str, Any]
) -> tuple[DigitClassifier, MNISTDataModule]:
    """Make the network of a checkpoint, and the data to test it on."""
    model = rebuild_classifier(checkpoint, path)
    config = config.copy()
    config.ckpt_path = path
    datamodule = make_datamodule(config, checkpoint)
    check_data(model, datamodule)
    return model, datamodule


def _read_member(path: str, config: DictConfig) -> _Member:
    """Check that a checkpoint can be tested, and read what the ensemble needs to know of its run.

    Raises:
        UserError: If it cannot, or if it would be deleted.
    """
    checkpoint = read_checkpoint(path)
    settings = stored_settings(checkpoint, path).settings
    _, datamodule = _load(path, config, checkpoint)
    if config.shift and datamodule.gives_scenes:
        raise UserError(f"shift={config.shift}: is for images of one digit, not for scenes")
    seed = settings.get("seed")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"ckpt_path={shown(path)}: its settings name no seed")
    if config.overwrite and RunDirectory(config.output_dir).holds(path):
        raise UserError(f"overwrite=true: would delete ckpt_path={shown(path)}")
    split = {key: getattr(datamodule, key) for key in _SPLIT}
    return _Member(path, seed, flatten(settings["data"]), split)


def _check_new(path: str, digests: dict[str, str]) -> None:
    """Refuse a checkpoint that was named before, also by a copy; add its digest to the others."""
    with Path(path).expanduser().open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest in digests:
        raise UserError(
            f"ckpt_path={shown(path)}: is the same network as {shown(digests[digest])}; name each "
            "once"
        )
    digests[digest] = path


def _check_split(member: _Member, split: Mapping[str, int]) -> None:
    """Refuse a member that was trained on validation images of the ensemble."""
    for key, expected in split.items():
        found = member.data.get(key)
        if found != expected:
            raise UserError(
                f"ckpt_path={shown(member.path)}: was trained with data.{key}={found}, which "
                f"trains on validation images of data.{key}={expected}, those of this test; leave "
                f"the checkpoint out, or add +data.{key}={found}"
            )


def _check_same_data(first: _Member, other: _Member) -> None:
    """Refuse a member that was trained for other test data than the first one."""
    for key in {**first.data, **other.data}:
        is_free = any(key == free or key.startswith(f"{free}.") for free in _FREE)
        mine, others = first.data.get(key), other.data.get(key)
        if mine != others and not is_free:
            raise UserError(
                f"ckpt_path={shown(other.path)}: was trained with data.{key}={others}, and "
                f"{shown(first.path)} with data.{key}={mine}; leave one out, or choose the data to "
                "test all members on with data=NAME"
            )


def _test(members: Sequence[_Member], config: DictConfig) -> float:
    tested: list[_Tested] = []
    seconds = {"validation": 0.0, "test": 0.0}
    for number, member in enumerate(members, 1):
        log.info("member %d of %d: %s", number, len(members), shown(member.path))
        tested.append(_test_member(member, config, seconds))
    # So that the order in which members are given changes no figure, not even by rounding.
    tested.sort(key=lambda each: (-each.member.val_accuracy, each.member.ckpt_path))
    validation = average([each.validation for each in tested])
    test = average([each.test for each in tested])
    ensemble = Ensemble(
        members=[each.member for each in tested],
        shift=config.shift,
        val_accuracy=validation.accuracy,
        test=test.figures(),
        calibration=calibrate(validation, test),
        best_member=compare(test, tested[0].alone),
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
    )
    path = RunDirectory(config.output_dir).write(ensemble, test.to_record())
    for line in _result_lines(ensemble):
        log.info(line)
    log.info("results            %s", shown(path))
    return ensemble.test.accuracy


def _test_member(member: _Member, config: DictConfig, seconds: dict[str, float]) -> _Tested:
    """Test a member on validation and test images, with the other networks not in memory.

    Args:
        member: The member.
        config: The configuration.
        seconds: Times by stage, to which those of the member are added.
    """
    model, datamodule = _load(member.path, config, read_checkpoint(member.path))
    datamodule.prepare_data()
    datamodule.setup("fit")
    alone = _answer(model, datamodule, config, seconds)
    averaged = alone
    if config.shift:
        averaged = _answer(ShiftAveraged(model, config.shift), datamodule, config, seconds)
    record = EnsembleMember(
        ckpt_path=str(Path(member.path).expanduser().resolve()),
        architecture=model.architecture,
        seed=member.seed,
        val_accuracy=alone[0].accuracy,
        test_accuracy=alone[1].accuracy,
    )
    return _Tested(record, alone[1], *averaged)


def _answer(
    model: DigitClassifier,
    datamodule: MNISTDataModule,
    config: DictConfig,
    seconds: dict[str, float],
) -> tuple[Answers, Answers]:
    """Read validation images, then test images; add the times to `seconds`."""
    accelerator = config.trainer.accelerator
    started = time.perf_counter()
    validation = score_validation(model, datamodule, accelerator=accelerator)
    seconds["validation"] += time.perf_counter() - started
    outcome = run_test(model, datamodule, accelerator=accelerator)
    seconds["test"] += outcome.seconds
    return Answers.of(model, *validation), Answers.of(model, outcome.scores, outcome.targets)


def _result_lines(ensemble: Ensemble) -> list[str]:
    """List the members, the figures of the ensemble, and its comparison with the best member."""
    rows = [
        [
            str(shown(member.ckpt_path)),
            member.architecture,
            str(member.seed),
            f"{member.val_accuracy:.4f}",
            f"{member.test_accuracy:.4f}",
        ]
        for member in ensemble.members
    ]
    accuracies = [f"{ensemble.val_accuracy:.4f}", f"{ensemble.test.accuracy:.4f}"]
    number = len(ensemble.members)
    averaged = f"ensemble of {number}" if number > 1 else "averaged"
    if ensemble.shift:
        averaged += f", {(2 * ensemble.shift + 1) ** 2} shifts"
    rows.append([averaged, "", "", *accuracies])
    columns = ("network", "architecture", "seed", "val accuracy", "test accuracy")
    best = ensemble.best_member
    return [
        *tabulate(rows, columns, disable_numparse=True).splitlines(),
        "",
        *figure_lines(ensemble.test, ensemble.calibration),
        f"McNemar's test     only the mean is right on {best.ensemble_only} digits, only the best "
        f"network (by validation) on {best.member_only}: p = {best.p_value:.2g}",
    ]
