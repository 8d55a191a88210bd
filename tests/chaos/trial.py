"""A run that is harmed and finished, and the uninterrupted runs that it must equal."""

import itertools
import random
import shlex
import signal
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results
from mnist_vision.runs.settings import quoted
from tests.chaos.checks import curves, file_names, read_state, rows_of, snapshot
from tests.chaos.process import Ended, Process

SMALL = (
    "trainer=cpu trainer.limit_val_batches=2 data.eval_batch_size=200 model.widths=[4,8] "
    "model.hidden=16 trainer.log_every_n_steps=1 "
)
SETTINGS = (
    "trainer.max_epochs=6 trainer.limit_train_batches=20",
    "callbacks=ema optimizer=adamw trainer.max_epochs=5 trainer.limit_train_batches=12",
    "optimizer=sgd scheduler=cosine trainer.max_epochs=4 trainer.limit_train_batches=15 "
    "trainer.val_check_interval=4",
    "callbacks=ema optimizer=sgd trainer.max_epochs=5 trainer.limit_train_batches=16 "
    "trainer.val_check_interval=0.5 trainer.accumulate_grad_batches=2",
    "scheduler=none data.augmentation=null model.batch_norm=false trainer.max_epochs=6 "
    "trainer.limit_train_batches=10 trainer.accumulate_grad_batches=3 "
    "trainer.gradient_clip_val=0.5 logger=[tensorboard,csv]",
    "optimizer=sgd optimizer.lr=0.7 scheduler=none trainer.max_epochs=5 "
    "trainer.limit_train_batches=20 trainer.check_val_every_n_epoch=2",
    "callbacks=early_stopping callbacks.early_stopping.patience=1 optimizer=sgd optimizer.lr=0.5 "
    "trainer.max_epochs=6 trainer.limit_train_batches=20",
)
# Some need quotes.
NAMES = ("run", "a b", "ü=1", "x,y", "a$b", "[1]")


class Reference(NamedTuple):
    """A run that nothing interrupted."""

    results: Results
    files: set[str]
    curves: dict[str, Counter[int]]
    seconds: float


class Chaos:
    """What trials share: uninterrupted runs, what all runs with the same settings had, and counts.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._references: dict[str, Reference] = {}
        # By settings and epoch: what the checkpoint after it holds, and its test figures.
        self._states: dict[tuple[str, float, str], str] = {}
        self._tests: dict[tuple[str, float], Any] = {}

    def reference(self, settings: str) -> Reference:
        """The uninterrupted run with these settings, which runs now if it is the first time."""
        if settings not in self._references:
            folder = self.folder / f"reference_{len(self._references)}"
            folder.mkdir()
            started = monotonic()
            ended = Process(folder, [*settings.split(), "hydra.run.dir=run"]).end()
            assert (ended.code, ended.err) == (0, ""), ended
            seconds, run_dir = monotonic() - started, folder / "run"
            self._references[settings] = Reference(
                RunDirectory(run_dir).read(Results),
                file_names(run_dir),
                curves(run_dir / "tensorboard"),
                seconds,
            )
            self.check_run(settings, run_dir)
        return self._references[settings]

    def check_checkpoints(self, settings: str, run_dir: Path) -> None:
        """Check that checkpoints can be read, and equal those of the same settings and epoch."""
        for path in run_dir.glob("checkpoints/*.ckpt"):
            epoch, parts = read_state(path)
            different = [
                key
                for key, value in parts.items()
                if value != self._states.setdefault((settings, epoch, key), value)
            ]
            assert not different, f"{path} after epoch {epoch}: {different} differ"
            self.counts["checkpoints compared"] += 1

    def check_run(self, settings: str, run_dir: Path, *more: str, best_since: float = 0) -> None:
        """Check that a finished run equals the uninterrupted one.

        Args:
            settings: Its settings.
            run_dir: Its directory.
            more: Files that an uninterrupted run has not.
            best_since: The epoch before which all networks were lost.
        """
        reference = self.reference(settings)
        directory = RunDirectory(run_dir)
        results = directory.read(Results)
        rows = rows_of(results)
        assert rows == rows_of(reference.results)
        kept = [row for row in rows if row["epoch"] >= best_since and "val/accuracy" in row]
        best = max(kept, key=lambda row: row["val/accuracy"])  # the first of equal ones
        assert results.best.epoch == best["epoch"]
        assert read_state(directory.last_checkpoint)[0] == results.epochs
        assert read_state(directory.best_checkpoint)[0] == results.best.epoch
        self.check_checkpoints(settings, run_dir)
        figures = results.model_dump(include={"test", "calibration"})
        assert figures == self._tests.setdefault((settings, results.best.epoch), figures)
        assert directory.read_predictions() is not None
        wrong_files = file_names(run_dir) ^ {*reference.files, *more}
        assert not wrong_files, f"files that are left over or missing: {sorted(wrong_files)}"
        # Lightning logs the epoch, and the test figures with the settings, twice.
        more_often = {
            tag: sorted(steps - reference.curves[tag])
            for tag, steps in curves(run_dir / "tensorboard").items()
            if steps - reference.curves[tag]
        }
        assert not more_often, f"TensorBoard has steps twice: {more_often}"
        self.counts["finished runs compared"] += 1


class Trial:
    """A run in a working directory of its own.

    Args:
        chaos: What trials share.
        seed: Chooses settings and harm.
    """

    def __init__(self, chaos: Chaos, seed: int) -> None:
        self.chaos, self.rng = chaos, random.Random(seed)
        self.settings = SMALL + self.rng.choice(SETTINGS)
        self.reference = chaos.reference(self.settings)
        self.folder = chaos.folder / f"seed_{seed}"
        self.folder.mkdir()
        self.run_dir = self.new_name()
        self.left: dict[Path, Any] = {}  # where the run was before, and the files there
        self.best_since = 0.0  # the epoch before which all networks were lost
        self.steps = [self.settings]
        self._printed: list[str] = []  # how to continue, from the output of the last process
        self._processes: list[Process] = []

    def new_name(self) -> Path:
        """Choose a new name for the directory of the run."""
        names = (f"{self.rng.choice(NAMES)}{n or ''}" for n in itertools.count())
        return next(self.folder / name for name in names if not (self.folder / name).exists())

    def rename(self, *, stays: bool) -> None:
        """Let the run go on in another directory: its own one, moved, or a new one."""
        old, self.run_dir, self._printed = self.run_dir, self.new_name(), []
        if stays:
            self.left[old] = snapshot(old)
        else:
            old.rename(self.run_dir)

    @property
    def last(self) -> Path:
        return RunDirectory(self.run_dir).last_checkpoint

    @property
    def best(self) -> Path:
        return RunDirectory(self.run_dir).best_checkpoint

    def note(self, step: str, *counts: str) -> None:
        """Add to the list of steps, and to the counts."""
        self.steps.append(step)
        self.chaos.counts.update(counts)

    def is_complete(self) -> bool:
        return RunDirectory(self.run_dir).find(Results) is not None

    def start_arguments(self) -> list[str]:
        """The command line that starts the run."""
        return [*self.settings.split(), f"hydra.run.dir={quoted(self.run_dir.name)}"]

    def arguments(self) -> list[str]:
        """The command line that a user types to go on."""
        if self.last.exists():
            if self._printed and self.rng.random() < 0.7:
                self.note("  with the printed command", "printed commands")
                return self._printed
            return [f"ckpt_path={quoted(self.last.relative_to(self.folder))}"]
        if not self.left:
            return self.start_arguments()
        last = RunDirectory(list(self.left)[-1]).last_checkpoint.relative_to(self.folder)
        replace = ["overwrite=true"] if RunDirectory(self.run_dir).holds_run() else []
        return [f"ckpt_path={quoted(last)}", f"hydra.run.dir={quoted(self.run_dir.name)}", *replace]

    def start(self, arguments: list[str] | None = None) -> Process:
        """Start a process, by default one that goes on with the run."""
        arguments = self.arguments() if arguments is None else arguments
        is_resumed = any(argument.startswith("ckpt_path=") for argument in arguments)
        shown = shlex.join(arguments).replace(shlex.join(self.settings.split()), "...")
        self.note(f"  train {shown}", "resumes" if is_resumed else "starts")
        process = Process(self.folder, arguments)
        self._processes.append(process)
        return process

    def end(self, process: Process, *codes: int) -> Ended:
        """Wait for the end of a process, and check its exit code and what it leaves."""
        ended = process.end()
        self.note(f"  exit code {ended.code}  {ended.err.strip()}")
        check_end(ended, codes)
        _, found, after = ended.out.partition("continue with\n")
        self._printed = shlex.split(after.splitlines()[0])[3:] if found else []
        self.chaos.check_checkpoints(self.settings, self.run_dir)
        for run_dir, files in self.left.items():
            assert snapshot(run_dir) == files, f"{run_dir} has changed"
        return ended

    def refuse(self, arguments: list[str], *reasons: str) -> None:
        """Check that a process changes no file and ends with one of these errors."""
        before = snapshot(self.folder)
        ended = self.start(arguments).end()
        self.note(f"  refused  {ended.err.strip()}", "refusals")
        check_end(ended, (1,))
        assert any(reason in ended.err for reason in reasons), ended.err
        changed = dict(snapshot(self.folder).items() ^ before.items())
        assert not changed, f"changed: {sorted(changed)}"

    def finish(self) -> None:
        """Finish the run, and check that it equals the uninterrupted one."""
        if not self.is_complete():
            self.note("finish")
            self.end(self.start(), 0)
        self.chaos.check_run(self.settings, self.run_dir, best_since=self.best_since)
        assert {*self.folder.iterdir()} == {self.run_dir, *self.left}

    def close(self) -> None:
        """End all processes, which a failed check may have left."""
        for process in self._processes:
            process.send(signal.SIGKILL)
            process.end()


def check_end(ended: Ended, codes: tuple[int, ...]) -> None:
    """Check that a process ended with one of these codes, and an error with one line."""
    assert ended.code in codes, ended
    lines = ended.err.splitlines()
    assert len(lines) == (ended.code > 0) or (ended.code < 0 and len(lines) < 2), ended.err
    assert all(line.startswith("error: ") for line in lines), ended.err


def wait_for_a_moment(trial: Trial, process: Process) -> None:
    """Wait until a random moment of the process, of training, of an epoch or of the test."""
    results, share = trial.reference.results, trial.rng.random()
    kind = trial.rng.choice(("any", "training", "epoch", "epoch", "test"))
    trial.note(f"  moment: {kind}, {share:.2f}")
    if kind == "any":
        process.wait(share * trial.reference.seconds)
    elif kind == "training":
        process.wait_until(lambda: process.prints("cnn: "))
        process.wait(share * results.seconds.fit)
    elif kind == "epoch":
        times = trial.rng.randint(1, 3)
        process.wait_until(lambda: process.prints("epoch ", times))
        process.wait(share * 0.1)
    else:
        process.wait_until(lambda: process.prints(f"epoch {results.epochs:g}/"))
        process.wait(share * results.seconds.test * 1.5)
