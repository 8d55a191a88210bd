"""Harm real runs at random, as users and machines do; each must end as if nothing had happened.

`make chaos` runs it for CHAOS_SECONDS, by default 1200. Each trial has its own seed; the first one
is CHAOS_SEED, by default random. The seed of a failed trial repeats its harm, at about the same
moments.
"""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Job, Results
from mnist_vision.runs.settings import quoted
from tests.chaos.checks import TEMPORARY, damage, read_state, snapshot
from tests.chaos.process import Process
from tests.chaos.trial import Chaos, Trial, check_end, wait_for_a_moment

SIGNALS = (signal.SIGTERM, signal.SIGINT)
IN_USE = "another process is writing to this directory"


# Harm to a process that goes on with the run.


def kill(trial: Trial) -> None:
    process = trial.start()
    wait_for_a_moment(trial, process)
    process.send(signal.SIGKILL)
    trial.end(process, -signal.SIGKILL, 0)
    trial.chaos.counts["kills"] += 1


def kill_while_writing(trial: Trial) -> None:
    """Kill at the moment when a temporary file appears."""
    process = trial.start()
    before, number = temporary_files(trial.run_dir), trial.rng.randint(1, 8)
    seen = set(before)

    def is_writing() -> bool:
        seen.update(temporary_files(trial.run_dir))
        return len(seen) - len(before) >= number

    process.wait_until(is_writing)
    process.send(signal.SIGKILL)
    trial.end(process, -signal.SIGKILL, 0)
    left = temporary_files(trial.run_dir) - before
    trial.note(f"  left: {left}", "kills", *(["kills while writing"] if left else []))


def temporary_files(run_dir: Path) -> set[str]:
    names: list[str] = []
    for folder in (run_dir, run_dir / "checkpoints"):
        with suppress(FileNotFoundError):
            names += os.listdir(folder)
    return {name for name in names if TEMPORARY.fullmatch(name)}


def stop(trial: Trial) -> None:
    """Send one signal or two; the first one counts."""
    first, second = trial.rng.choice(SIGNALS), trial.rng.choice((None, *SIGNALS))
    process = trial.start()
    process.wait_until(process.handles_signals)
    wait_for_a_moment(trial, process)
    process.send(first)
    if second is not None:
        process.wait(trial.rng.random() * 0.3)
        process.send(second)
    ended = trial.end(process, 128 + first, 0)
    assert ended.err in ("", f"error: stopped by {first.name}\n")
    trial.chaos.counts[f"{first.name}s"] += 1


def second_process(trial: Trial) -> None:
    """Start another process in the same directory, while the first one is paused."""
    first = trial.start()
    first.wait_until(lambda: first.prints("cnn: "))
    first.wait(trial.rng.random() * trial.reference.results.seconds.fit)
    first.send(signal.SIGSTOP)
    if not first.is_over():
        again = trial.start_arguments()
        trial.refuse(
            trial.rng.choice((trial.arguments(), again, [*again, "overwrite=true"])), IN_USE
        )
    first.send(signal.SIGCONT)
    if trial.rng.random() < 0.5:
        wait_for_a_moment(trial, first)
        first.send(signal.SIGKILL)
    trial.end(first, -signal.SIGKILL, 0)


def race(trial: Trial) -> None:
    """Start two processes at once: one of them works."""
    processes = [trial.start(), trial.start()]
    if trial.rng.random() < 0.5:
        wait_for_a_moment(trial, processes[0])
        for process in processes:
            process.send(signal.SIGKILL)
    ended = [trial.end(process, -signal.SIGKILL, 0, 1) for process in processes]
    errors = [each.err for each in ended if each.code == 1]
    assert len(errors) < 2, errors
    late = ("holds a run; choose another", "already trained for", "already complete")
    assert all(any(reason in error for reason in (IN_USE, *late)) for error in errors), errors
    assert [each.code for each in ended].count(0) < 2
    trial.chaos.counts["refusals"] += len(errors)


def full_disk(trial: Trial) -> None:
    """Let the disk be full, from the start or from some moment on."""
    process = trial.start()
    if trial.rng.random() < 0.5:
        wait_for_a_moment(trial, process)
    size = trial.rng.choice((0, trial.rng.randrange(20_000), trial.rng.randrange(1_000_000)))
    process.limit_files(size)
    ended = trial.end(process, 0, 1)
    trial.note(f"  no file above {size} bytes", *(["full disks"] if ended.code else []))


# Harm to the files of a run that has a last checkpoint, between two processes.


def corrupt_last(trial: Trial) -> None:
    """Damage the last checkpoint, which must be refused; then put the good one back."""
    state, content = read_state(trial.last), trial.last.read_bytes()
    trial.note(f"  {damage(trial.last, trial.rng)}", "corruptions")
    if is_damaged(trial.last, state):
        trial.refuse([f"ckpt_path={quoted(trial.last.relative_to(trial.folder))}"], "last.ckpt")
    trial.last.write_bytes(content)


def corrupt_best(trial: Trial) -> None:
    """Damage the best checkpoint: it must be refused, or else replaced."""
    if not trial.best.exists():
        return
    state, content, (epoch, _) = (
        read_state(trial.best),
        trial.best.read_bytes(),
        read_state(trial.last),
    )
    trial.note(f"  {damage(trial.best, trial.rng)}", "corruptions")
    is_lost = is_damaged(trial.best, state)
    ended = trial.start().end()
    trial.note(f"  exit code {ended.code}  {ended.err.strip()}")
    check_end(ended, (0, 1) if is_lost else (0,))
    if ended.code == 1:
        assert "best.ckpt" in ended.err
        trial.best.write_bytes(content)
        trial.chaos.counts["refusals"] += 1
    elif is_lost:
        trial.best_since = epoch


def is_damaged(path: Path, state: object) -> bool:
    """Test whether a checkpoint is refused; some bytes of its file have no meaning."""
    try:
        assert read_state(path) == state, f"{path}: damage is not noticed"
    except UserError:
        return True
    return False


def delete_best(trial: Trial) -> None:
    """Delete the best checkpoint, whose place the last one takes."""
    trial.best.unlink(missing_ok=True)
    trial.best_since = read_state(trial.last)[0]


def damage_results(trial: Trial) -> None:
    path = trial.run_dir / "results.json"
    path.write_text(trial.rng.choice(("", "{", "[]", '{"version": 2}', "\0" * 100)))


def delete_tensorboard(trial: Trial) -> None:
    """Delete all files of TensorBoard, or one."""
    folder = trial.run_dir / "tensorboard"
    if trial.rng.random() < 0.5:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        trial.rng.choice(sorted(folder.iterdir())).unlink()


def resume_elsewhere(trial: Trial) -> None:
    trial.rename(stays=True)


def move(trial: Trial) -> None:
    trial.rename(stays=False)


PROCESSES = (kill, kill, kill_while_writing, kill_while_writing, stop, stop, second_process, race,
             full_disk)  # fmt: skip
FILES = (corrupt_last, corrupt_best, delete_best, damage_results, delete_tensorboard,
         resume_elsewhere, move)  # fmt: skip


def harm_run(trial: Trial) -> None:
    """Harm a run a few times, finish it, and perhaps harm it once more."""
    for _ in range(trial.rng.randint(1, 4)):
        harm(trial, trial.rng.choice(PROCESSES))
        if trial.is_complete():
            break
        if trial.last.exists() and trial.rng.random() < 0.6:
            harm(trial, trial.rng.choice(FILES))
            if trial.is_complete():  # nothing stopped the process that found the damage
                break
    trial.finish()
    more = trial.rng.choice(("nothing", "resume", "damage"))
    if more == "resume":
        ended = trial.end(trial.start(), 1)
        assert "already " in ended.err
    if more == "damage":
        harm(trial, damage_results)
        trial.finish()


def harm(trial: Trial, scenario: Callable[[Trial], None]) -> None:
    trial.note(scenario.__name__, f"scenario {scenario.__name__}")
    scenario(trial)


def harm_sweep(trial: Trial) -> None:
    """Kill or stop a sweep of two seeds a few times, and finish it."""
    trial.note("sweep", "scenario sweep")
    folder, grid = (
        trial.folder / "sweep",
        ["seed=0,1", "hydra.sweep.dir=sweep", "sweep.resume=true"],
    )
    arguments = ["--multirun", *trial.settings.split(), *grid]
    for _ in range(trial.rng.randint(1, 3)):
        signum = trial.rng.choice((signal.SIGKILL, *SIGNALS))
        process = trial.start(arguments)
        process.wait_until(process.handles_signals)
        process.wait(trial.rng.random() * trial.reference.seconds * 1.5)
        process.send(signum)
        end_sweep(trial, process, 0, -signum if signum == signal.SIGKILL else 128 + signum)
    end_sweep(trial, trial.start(arguments), 0)
    jobs = [RunDirectory(path.parent) for path in folder.glob("*/job.json")]
    assert sorted(job.read(Results).seed for job in jobs) == [0, 1]
    for job in jobs:
        assert job.read(Job).status == "completed"
        trial.chaos.check_run(job_settings(trial, job), job.path, "job.json")
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {".lock", "multirun.yaml", "sweep.json", "sweep.csv", "sweep.md"}
    assert [*trial.folder.iterdir()] == [folder]


def end_sweep(trial: Trial, process: Process, *codes: int) -> None:
    ended = process.end()
    trial.note(f"  exit code {ended.code}  {ended.err.strip()}", "sweep processes")
    check_end(ended, codes)
    for path in trial.folder.glob("sweep/*/job.json"):
        job = RunDirectory(path.parent)
        trial.chaos.check_checkpoints(job_settings(trial, job), job.path)


def job_settings(trial: Trial, job: RunDirectory) -> str:
    """The settings of a single run that equals a job; 0 is the default seed."""
    return f"{trial.settings} seed=1" if "seed=1" in job.read(Job).overrides else trial.settings


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and observes processes as Linux can")
def test_an_interrupted_run_equals_an_uninterrupted_one_after_any_harm(tmp_path, mnist_root):
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
    end = time.monotonic() + float(os.environ.get("CHAOS_SECONDS") or 1200)
    chaos, failures = Chaos(tmp_path), []
    data = Path(mnist_root).expanduser()
    data_files = snapshot(data)
    while time.monotonic() < end:
        trial = Trial(chaos, seed)
        try:
            (harm_sweep if trial.rng.random() < 0.15 else harm_run)(trial)
            assert snapshot(data) == data_files
            shutil.rmtree(trial.folder)
            print(f"CHAOS_SEED={seed}: passed")
        except Exception as error:
            failures.append(seed)
            steps = "\n".join(trial.steps)
            print(f"CHAOS_SEED={seed}: failed: {error}\n{steps}\nkept in {trial.folder}\n")
        finally:
            trial.close()
        seed += 1
    for name, count in sorted(chaos.counts.items()):
        print(f"{count:6} {name}")
    assert not failures, f"{len(failures)} trials failed; CHAOS_SEED=SEED repeats one"
