"""The files and the lock of a run directory; all code reads and writes them through this module.

- `results.json`: the results of a completed run
- `training.json`: instead of them, the results of a run with `test=false`
- `test_predictions.npz`: its predictions on the test images
- `robustness.json`: its figures under a suite of corruptions
- `attributions.npz`: where the network looked in its worst mistakes
- `evaluation.json`: instead of results, the figures of a tested checkpoint
- `ensemble.json`: the same of several checkpoints together
- `job.json`: how a job of a sweep ended
- `checkpoints/`: `best.ckpt` and `last.ckpt`
- `.lock`: held by the process that writes
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import lock_directory, remove_leftovers, shown, write_atomically
from mnist_vision.common.paths import find_file, shortened
from mnist_vision.runs.file_names import (
    ATTRIBUTIONS_FILE,
    BENCHMARK_FILE,
    CHECKPOINTS,
    ENSEMBLE_FILE,
    EVALUATION_FILE,
    JOB_FILE,
    PREDICTED_CSV,
    PREDICTED_JSONL,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    TRAINING_FILE,
)
from mnist_vision.runs.settings import argument

if TYPE_CHECKING:  # these take time to import, and taking a directory needs none of them
    from mnist_vision.runs.base_record import FileRecord
    from mnist_vision.runs.mistake_attributions import MistakeAttributions
    from mnist_vision.runs.predictions import Predictions
    from mnist_vision.runs.record import TestFigures, TrainingResults

Kind = TypeVar("Kind", bound="FileRecord")

# Other files of runs: logs, files of loggers, a profile, and runs of the benchmark.
_OTHERS = (
    "train*.log", "evaluate.log", "predict.log", "export.log", "serve.log", "benchmark.log",
    ".hydra", "tensorboard", "csv", "mlflow.db", "mlflow.db-*", "mlflow_artifacts", "wandb",
    "results_epoch_*.json", "results_damaged*.json", "robustness_epoch_*.json",
    "robustness_damaged*.json", "training_epoch_*.json", "training_damaged*.json",
    "*-profile.txt", "speedrun_*",
    PREDICTED_CSV, PREDICTED_JSONL, "contact_sheet_*.png", "explanations_*.png",
    ATTRIBUTIONS_FILE,
)  # fmt: skip
# A directory with one of these holds a run.
_RECORDS = (RESULTS_FILE, TRAINING_FILE, EVALUATION_FILE, ENSEMBLE_FILE, BENCHMARK_FILE)
_SIGNS = (*_RECORDS, PREDICTED_CSV, f"{CHECKPOINTS}/*.ckpt")


def find_checkpoint(ckpt_path: str | os.PathLike[str]) -> Path:
    """Find the file of `ckpt_path`, which may begin with `~`.

    Raises:
        UserError: If it does not exist, or is no file.
    """
    try:
        return find_file(ckpt_path)
    except FileNotFoundError:
        problem = "no such file"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    raise UserError(
        f"ckpt_path={shortened(shown(ckpt_path))}: {problem}; give a .ckpt file of a run, or an "
        ".onnx file of mnist_vision.export"
    )


class RunDirectory:
    """The directory of a run, or of the test of a checkpoint.

    Args:
        path: Its path; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def of_checkpoint(cls, ckpt_path: str | os.PathLike[str]) -> "RunDirectory | None":
        """Find the run that a checkpoint lies in; None for one that was copied elsewhere."""
        folder = Path(os.path.expanduser(ckpt_path)).resolve().parent
        signs = (".hydra", "*.log", RESULTS_FILE)
        is_run = any(any(folder.parent.glob(sign)) for sign in signs)
        return cls(folder.parent) if folder.name == CHECKPOINTS and is_run else None

    def is_same(self, other: "RunDirectory") -> bool:
        """Test whether both are the same directory."""
        return self.path.resolve() == other.path.resolve()

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint of the best validation accuracy."""
        return self.path / CHECKPOINTS / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.path / CHECKPOINTS / "last.ckpt"

    @property
    def is_complete(self) -> bool:
        """True if the directory holds the results of a run, tested or not."""
        return any((self.path / name).exists() for name in (RESULTS_FILE, TRAINING_FILE))

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Test whether a path leads into the directory."""
        # Unlike Path.resolve, realpath accepts a loop of links.
        real = Path(os.path.realpath(os.path.expanduser(path)))
        return real.is_relative_to(os.path.realpath(self.path))

    def holds_run(self) -> bool:
        """Test whether there are results or checkpoints, which a new run would replace."""
        return any(any(self.path.glob(sign)) for sign in _SIGNS)

    def check_available(self, *, resumes: bool = False, overwrite: bool = False) -> None:
        """Refuse a directory that `take` would refuse, and create none; see there."""
        if self.path.is_dir():
            with self.lock("hydra.run.dir"):
                self._check_free(resumes=resumes, overwrite=overwrite)

    def _check_free(self, *, resumes: bool, overwrite: bool) -> None:
        if not resumes and not overwrite and self.holds_run():
            raise UserError(self._explain_taken())

    @contextmanager
    def lock(self, setting: str, *, waits: bool = False) -> Iterator[None]:
        """Lock the directory, which exists, as `lock_directory` does.

        What killed processes left in it and in `checkpoints/` is deleted.
        """
        with lock_directory(self.path, setting, waits=waits):
            remove_leftovers(self.path / CHECKPOINTS)
            yield

    @contextmanager
    def take(self, *, resumes: bool = False, overwrite: bool = False) -> Iterator[None]:
        """Lock the directory for this process, before anything is written into it.

        Args:
            resumes: Whether its run is resumed.
            overwrite: Whether its run is deleted.

        Raises:
            UserError: If the directory cannot be made, another process holds it, or it holds a run
                that is neither resumed nor overwritten.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"hydra.run.dir={shown(self.path)}: cannot be made ({error.strerror}); choose "
                "another"
            ) from error
        with self.lock("hydra.run.dir"):
            self._check_free(resumes=resumes, overwrite=overwrite)
            if overwrite:
                self.clear()
            yield

    def _explain_taken(self) -> str:
        ways = "choose another with hydra.run.dir=DIR, or replace it with overwrite=true"
        if self.last_checkpoint.exists() and not self.is_complete:
            ways += f", or go on with {argument('ckpt_path', self.last_checkpoint)}"
        return f"hydra.run.dir={shown(self.path)}: holds a run; {ways}"

    def clear(self) -> None:
        """Delete the files of runs, and no others."""
        patterns = (*_RECORDS, PREDICTIONS_FILE, ROBUSTNESS_FILE, JOB_FILE, CHECKPOINTS, *_OTHERS)
        for path in [found for pattern in patterns for found in self.path.glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def read(self, kind: type[Kind]) -> Kind:
        """Read a record, such as `Results`.

        Raises:
            UserError: If its file is missing or damaged.
        """
        return self._read(kind, kind.FILE)

    def _read(self, kind: type[Kind], name: str) -> Kind:
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{name}: is missing") from error
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from error
        return kind.parse_json(content, name)

    def find(self, kind: type[Kind]) -> Kind | None:
        """Read a record; None if its file is missing or damaged."""
        try:
            return self.read(kind)
        except UserError:
            return None

    def find_test(self) -> "TestFigures | None":
        """Read the test figures of a run, checkpoint or ensemble; None if there are none."""
        from mnist_vision.runs.ensemble_record import Ensemble
        from mnist_vision.runs.record import Evaluation, Results

        found = self.find(Results) or self.find(Evaluation) or self.find(Ensemble)
        return found.test if found is not None else None

    def write(self, record: "FileRecord", predictions: "Predictions | None" = None) -> Path:
        """Write predictions, if any, then the record: if the record exists, both are complete.

        Returns:
            The file of the record.
        """
        if predictions is not None:
            predictions.write(self.path / PREDICTIONS_FILE)
        path = self.path / record.FILE
        with write_atomically(path) as file:
            file.write(record.to_json())
        if record.FILE == RESULTS_FILE:  # they hold what a run without a test has written
            (self.path / TRAINING_FILE).unlink(missing_ok=True)
        return path

    def read_predictions(self) -> "Predictions":
        """Read the predictions on the test images.

        Raises:
            UserError: If they are missing or damaged.
        """
        from mnist_vision.runs.predictions import Predictions

        return Predictions.read(self.path / PREDICTIONS_FILE)

    def write_attributions(self, attributions: "MistakeAttributions | None") -> None:
        """Write the attributions of the worst mistakes; None deletes those of an earlier test."""
        path = self.path / ATTRIBUTIONS_FILE
        if attributions is None:
            path.unlink(missing_ok=True)
        else:
            attributions.write(path)

    def read_attributions(self) -> "MistakeAttributions | None":
        """Read the attributions of the worst mistakes; None if there are none.

        Raises:
            UserError: If they are damaged.
        """
        from mnist_vision.runs.mistake_attributions import MistakeAttributions

        path = self.path / ATTRIBUTIONS_FILE
        return MistakeAttributions.read(path) if path.exists() else None

    def find_results(self) -> "TrainingResults | None":
        """Read the results of the run, with or without a test; None if there are none."""
        from mnist_vision.runs.record import Results, TrainingResults

        return self.find(Results) or self.find(TrainingResults)

    def find_all_results(self) -> list["TrainingResults"]:
        """Read the results of the run, if any, and those that were put aside before.

        Those of a test come first.
        """
        from mnist_vision.runs.record import Results, TrainingResults

        found: list[TrainingResults] = []
        for kind in (Results, TrainingResults):
            stem = Path(kind.FILE).stem
            names = [kind.FILE, *(path.name for path in self.path.glob(f"{stem}_epoch_*.json"))]
            for name in names:
                with suppress(UserError):
                    found.append(self._read(kind, name))
        return found

    def put_results_aside(self) -> None:
        """Rename the results to `results_epoch_N.json` before training continues.

        Damaged results become `results_damaged.json`. `robustness.json` and `training.json` get the
        same ending. No existing file is replaced.
        """
        if not self.is_complete:  # figures without results are those of a killed run
            (self.path / ROBUSTNESS_FILE).unlink(missing_ok=True)
            return
        results = self.find_results()
        ending = f"epoch_{results.epochs:g}" if results is not None else "damaged"
        # The results come last: if this is interrupted, they still name the epoch.
        for name in (ROBUSTNESS_FILE, TRAINING_FILE, RESULTS_FILE):
            path = self.path / name
            if path.exists():
                _put_aside(path, f"{path.stem}_{ending}")

    def put_last_checkpoint_aside(self) -> Path:
        """Rename the last checkpoint, which is damaged, to `last_damaged.ckpt`; return that path.

        No existing file is replaced.
        """
        return _put_aside(self.last_checkpoint, "last_damaged")


def _put_aside(path: Path, name: str) -> Path:
    """Rename a file to `name`, or to the first of `name_2`, `name_3`, ... that is free."""
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    paths = (path.with_name(f"{each}{path.suffix}") for each in names)
    aside = next(each for each in paths if not each.exists())
    os.replace(path, aside)
    return aside
