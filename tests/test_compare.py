import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_vision import compare
from mnist_vision.common.files import lock_directory
from tests.conftest import limited_file_size
from tests.report.fixtures import write_job, write_run


@pytest.fixture
def run_main(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, in an empty folder: exit code, output, errors."""

    def run(*args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, args)])
        code = 0
        try:
            compare.main()
        except SystemExit as end:
            code = end.code
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_a_user_gets_a_report(command, tmp_path):
    for seed in range(2):
        write_run(tmp_path / "outputs" / "cnn" / f"{seed}", seed=seed)
    write_run(tmp_path / "outputs" / "vgg16" / "0", architecture="vgg16")
    done = command("compare")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "test accuracy" in done.stdout
    assert done.stdout.endswith("report  outputs/comparison/report.html\n")
    written = {path.name for path in (tmp_path / "outputs" / "comparison").iterdir()}
    assert {"report.html", "report.md", "results.csv", "curve_val_accuracy.png"} <= written
    assert [name for name in written if name.startswith(".")] == [".lock"]


def test_paths_may_lie_below_home(run_main, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_run(tmp_path / "runs" / "a")
    code, out, err = run_main("~/runs/*", "--output=~/report")
    assert code == 0, err
    assert out.endswith("report  report/report.html\n")
    assert (tmp_path / "report" / "report.html").exists()


def test_a_second_report_does_not_read_the_first(run_main, tmp_path):
    write_run(tmp_path / "outputs" / "run")
    assert run_main()[0] == 0
    code, out, _ = run_main()
    assert code == 0
    assert "skipped" not in out


def test_a_folder_takes_one_report_at_a_time(run_main, tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "report").mkdir()
    with lock_directory(tmp_path / "report", "--output"):
        code, _, err = run_main("run", "--output=report")
    assert code == 1
    assert err.startswith("error: report: another process is writing to this directory")
    assert err.endswith("choose another with --output=DIR\n")


def test_what_a_killed_compare_left_half_written_is_deleted(run_main, tmp_path, kill_while_writing):
    write_run(tmp_path / "run")
    (tmp_path / "report").mkdir()
    kill_while_writing(tmp_path / "report" / "report.html")
    assert run_main("run", "--output=report")[0] == 0
    assert [path.name for path in (tmp_path / "report").glob(".*")] == [".lock"]


def test_folders_and_globs_and_another_place_for_the_report(run_main, tmp_path):
    for name in ("a/1", "b/1", "c/1"):
        write_run(tmp_path / name, overrides=[f"name={name[0]}"])
    code, out, _ = run_main("a", "[bc]/*", "--output", "there/report")
    assert code == 0
    assert all(f"name={name}" in out for name in "abc")
    assert (tmp_path / "there" / "report" / "report.html").exists()


def test_damage_and_failures_are_listed_and_the_others_go_on(run_main, tmp_path):
    write_run(tmp_path / "good")
    (write_run(tmp_path / "bad") / "test_predictions.npz").unlink()
    write_job(tmp_path / "job")
    code, out, err = run_main(".")
    assert (code, err) == (0, "")
    assert "skipped  bad: test_predictions.npz: is missing" in out
    assert "failed  job: model.weights=IMAGENET1K_FEATURES: cannot be fetched" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "outputs: does not exist; name folders of runs or sweeps"),
        (["gone/*"], "gone/*: matches nothing; name folders of runs or sweeps"),
        (["."], ".: no finished run: no results.json in it or below; train one with"),
    ],
)
def test_nothing_to_compare_is_one_line_and_no_file(run_main, tmp_path, args, message):
    code, out, err = run_main(*args)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["a file", "below a file"])
def test_a_report_that_cannot_be_written_is_one_line(run_main, tmp_path, target):
    write_run(tmp_path / "run")
    (tmp_path / "file").write_text("precious")
    output = tmp_path / "file" / ("deeper" if target == "below a file" else "")
    code, _, err = run_main("run", "--output", output)
    assert code == 1
    assert err.startswith("error: file")
    assert "; move the file away that lies in place of a folder" in err
    assert err.endswith(", or choose another directory with --output=DIR\n")
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "precious"


def test_a_report_that_finds_no_space_is_one_line_and_no_half_written_file(run_main, tmp_path):
    write_run(tmp_path / "run")
    with limited_file_size(100):
        code, _, err = run_main("run", "--output", "report")
    assert code == 1
    assert err.startswith("error: report/")
    assert err.endswith(
        ": File too large; raise the limit on the size of files, ulimit -f, or choose another "
        "directory with --output=DIR\n"
    )
    assert [path.name for path in (tmp_path / "report").iterdir()] == [".lock"]


def test_names_and_terminals_of_other_alphabets(tmp_path):
    for seed in range(2):
        write_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")) / f"{seed}", seed=seed)
    done = subprocess.run(
        [sys.executable, "-m", "mnist_vision.compare", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"0.9900 ? 0.0000" in done.stdout
    assert "?/0" in (tmp_path / "outputs" / "comparison" / "report.html").read_text()


def test_an_unknown_option_is_refused(run_main):
    code, _, err = run_main("--outptu", "x")
    assert code == 2
    assert "unrecognized arguments: --outptu" in err


def test_help_answers_at_once(command):
    started = time.perf_counter()
    done = command("compare", "--help")
    assert done.returncode == 0
    assert "--output DIR" in done.stdout
    assert "default: outputs" in done.stdout
    assert time.perf_counter() - started < 5


def test_ctrl_c_ends_it_in_a_line(tmp_path):
    os.mkfifo(tmp_path / "results.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_vision.compare", "."],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with (tmp_path / "results.json").open("w"):  # waits until the command opens it
        # Python does not see a signal that comes just before a system call that waits.
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "error: stopped by SIGINT\n")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
