"""The directory of a run: where everything lies, who may write, and the only reader and writer.

- `results.json`: what a completed run found
- `test_predictions.npz`: its predictions on the test images
- `evaluation.json`: in the place of results, what the test of a checkpoint found
- `job.json`: how a job of a sweep ended
- `checkpoints/`: `best.ckpt` and `last.ckpt`
- `.lock`: held by the process that writes
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import lock_directory, shown, write_atomically
from mnist_vision.runs.settings import quoted

if TYPE_CHECKING:  # these take time to import, and taking a directory needs none of them
    from mnist_vision.runs.predictions import Predictions
    from mnist_vision.runs.record import Evaluation, Job, Results, TestFigures

RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "test_predictions.npz"
EVALUATION_FILE = "evaluation.json"
BENCHMARK_FILE = "benchmark.json"
JOB_FILE = "job.json"
CHECKPOINTS = "checkpoints"
# What runs write beside these and `CHECKPOINTS`: logs, loggers' files, a profile, and, of the
# benchmark, runs.
_OTHERS = (
    "train*.log", "evaluate.log", "benchmark.log", ".hydra", "tensorboard", "csv", "mlflow.db",
    "mlflow_artifacts", "wandb", "results_epoch_*.json", "results_damaged*.json", "*-profile.txt",
    "speedrun_*",
)  # fmt: skip
# A directory with one of these holds a run.
_SIGNS = (RESULTS_FILE, EVALUATION_FILE, BENCHMARK_FILE, f"{CHECKPOINTS}/*.ckpt")


Found = TypeVar("Found")


def find_checkpoint(ckpt_path: str | os.PathLike[str]) -> Path:
    """The file that `ckpt_path` names, which may begin with `~`.

    Raises:
        UserError: If there is none.
    """
    path = Path(os.path.expanduser(ckpt_path))
    if not os.path.isfile(path):  # which takes any text, unlike Path.is_file
        raise UserError(f"ckpt_path={shown(ckpt_path)}: no such file; give a .ckpt file of a run")
    return path


class RunDirectory:
    """The directory of a run, or of the test of a checkpoint.

    Args:
        path: Where it lies, or is to lie.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def of_checkpoint(cls, ckpt_path: str | os.PathLike[str]) -> "RunDirectory | None":
        """The run that a checkpoint lies in; None for a checkpoint that was copied elsewhere."""
        folder = Path(os.path.expanduser(ckpt_path)).resolve().parent
        signs = (".hydra", "*.log", RESULTS_FILE)
        is_run = any(any(folder.parent.glob(sign)) for sign in signs)
        return cls(folder.parent) if folder.name == CHECKPOINTS and is_run else None

    def is_same(self, other: "RunDirectory") -> bool:
        """Whether both paths lead to the same directory."""
        return self.path.resolve() == other.path.resolve()

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint that validation chose."""
        return self.path / CHECKPOINTS / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.path / CHECKPOINTS / "last.ckpt"

    @property
    def results_path(self) -> Path:
        """The results of a completed run."""
        return self.path / RESULTS_FILE

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path leads to a file inside the directory."""
        return Path(os.path.expanduser(path)).resolve().is_relative_to(self.path.resolve())

    def holds_run(self) -> bool:
        """Whether the directory holds results or checkpoints, which a new run would replace."""
        return any(any(self.path.glob(sign)) for sign in _SIGNS)

    @contextmanager
    def take(self, *, resumes: bool = False, overwrite: bool = False) -> Iterator[None]:
        """Hold the directory for this process, before anything is written into it.

        Args:
            resumes: Whether the run that it holds is to go on.
            overwrite: Whether the run that it holds is to be deleted.

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
        with lock_directory(self.path, "hydra.run.dir"):
            if not resumes and self.holds_run():
                if not overwrite:
                    raise UserError(self._explain_taken())
                self.clear()
            yield

    def _explain_taken(self) -> str:
        ways = "choose another with hydra.run.dir=DIR, or replace it with overwrite=true"
        if self.last_checkpoint.exists() and not self.results_path.exists():
            ways += f", or go on with ckpt_path={quoted(shown(self.last_checkpoint))}"
        return f"hydra.run.dir={shown(self.path)}: holds a run; {ways}"

    def clear(self) -> None:
        """Delete what runs write, and nothing else: the directory may be somebody's."""
        files = (RESULTS_FILE, PREDICTIONS_FILE, EVALUATION_FILE, BENCHMARK_FILE, JOB_FILE)
        patterns = (*files, CHECKPOINTS, *_OTHERS)
        for path in [found for pattern in patterns for found in self.path.glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def read_results(self) -> "Results":
        """Read the results of a completed run.

        Raises:
            UserError: If they are missing or damaged.
        """
        from mnist_vision.runs.record import Results

        return Results.parse_json(_read(self.results_path), RESULTS_FILE)

    def write_results(self, results: "Results", predictions: "Predictions") -> None:
        """Write predictions, then results: a directory with results is complete."""
        predictions.write(self.path / PREDICTIONS_FILE)
        _write(self.results_path, results.to_json())

    def put_results_aside(self) -> None:
        """Rename the results to `results_epoch_N.json` before training continues.

        Damaged results become `results_damaged.json`. No existing file is replaced.
        """
        if not self.results_path.exists():
            return
        results = self.find_results()
        name = f"results_epoch_{results.epochs}" if results is not None else "results_damaged"
        count = len(list(self.path.glob(f"{name}*.json")))
        aside = f"{name}_{count + 1}.json" if count else f"{name}.json"
        os.replace(self.results_path, self.path / aside)

    def read_predictions(self) -> "Predictions":
        """Read the predictions on the test images.

        Raises:
            UserError: If they are missing or damaged.
        """
        from mnist_vision.runs.predictions import Predictions

        return Predictions.read(self.path / PREDICTIONS_FILE)

    def read_evaluation(self) -> "Evaluation":
        """Read what the test of a checkpoint found.

        Raises:
            UserError: If it is missing or damaged.
        """
        from mnist_vision.runs.record import Evaluation

        return Evaluation.parse_json(_read(self.path / EVALUATION_FILE), EVALUATION_FILE)

    def write_evaluation(self, evaluation: "Evaluation", predictions: "Predictions") -> Path:
        """Write predictions, then what the test of a checkpoint found; return its file."""
        predictions.write(self.path / PREDICTIONS_FILE)
        _write(self.path / EVALUATION_FILE, evaluation.to_json())
        return self.path / EVALUATION_FILE

    def find_results(self) -> "Results | None":
        """The results of a completed run; None where there are none that can be read."""
        return _found(self.read_results)

    def find_job(self) -> "Job | None":
        """How a job of a sweep ended; None where there is no record that can be read."""
        return _found(self.read_job)

    def find_test(self) -> "TestFigures | None":
        """The test figures of a run, or of the test of a checkpoint; None where there are none."""
        found = _found(self.read_results) or _found(self.read_evaluation)
        return found.test if found is not None else None

    def read_job(self) -> "Job":
        """Read how a job of a sweep ended.

        Raises:
            UserError: If the record is missing or damaged.
        """
        from mnist_vision.runs.record import Job

        return Job.parse_json(_read(self.path / JOB_FILE), JOB_FILE)

    def write_job(self, job: "Job") -> None:
        """Write the state of a job of a sweep."""
        _write(self.path / JOB_FILE, job.to_json())


def _found(read: Callable[[], Found]) -> Found | None:
    try:
        return read()
    except UserError:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path.name}: is missing") from error
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror})") from error


def _write(path: Path, content: bytes) -> None:
    with write_atomically(path) as file:
        file.write(content)
