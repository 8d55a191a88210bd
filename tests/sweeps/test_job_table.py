from mnist_vision.common.files import write_json
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Job
from mnist_vision.sweeps.job_table import make_rows, read_jobs, shorten
from tests.report.fixtures import write_run


def record(folder, number, *overrides, **changes):
    content = {"status": "completed", "seconds": 90.0} | changes
    asked = {"overrides": list(overrides), "requests": [list(overrides)]}
    RunDirectory(folder).write(Job(number=number, **asked, **content))


def test_a_search_has_a_row_for_each_trial_and_a_column_for_what_varies(tmp_path):
    record(tmp_path / "b", 1, "model=cnn", "lr=0.1")
    record(tmp_path / "a", 0, "model=cnn", "lr=0.2", status="failed", reason="too bad")
    rows = make_rows(read_jobs(tmp_path), None)
    assert [(row["job"], row["lr"], row["status"]) for row in rows] == [
        ("0", "0.2", "failed"), ("1", "0.1", "completed"),
    ]  # fmt: skip
    assert "model" not in rows[0]
    assert rows[0]["reason"] == "too bad"
    assert rows[1]["minutes"] == "1.50"


def test_a_grid_has_its_planned_jobs_and_no_others(tmp_path):
    record(tmp_path / "a", 0, "lr=0.1", status="running", seconds=None)
    record(tmp_path / "b", 1, "lr=0.3")
    rows = make_rows(read_jobs(tmp_path), [["lr=0.2"], ["lr=0.1"]])
    assert [(row["lr"], row["status"]) for row in rows] == [
        ("0.2", "not run"), ("0.1", "interrupted"),
    ]  # fmt: skip


def test_figures_are_those_of_a_run_or_of_the_test_of_a_checkpoint(tmp_path):
    write_run(tmp_path / "a", accuracy=0.5, seconds=59.0, milliseconds=5, test={"f1": 0.25})
    test = {"accuracy": 0.5, "f1": 0.25, "num_images": 2, "num_mistakes": 1}
    evaluation = {"version": 1, "architecture": "cnn", "ckpt_path": "x", "test": test}
    write_json(tmp_path / "b" / "evaluation.json", evaluation | {"seconds": {"test": 1.0}})
    for number, name in enumerate("ab"):
        record(tmp_path / name, number, f"x={number}")
    rows = make_rows(read_jobs(tmp_path), None)
    assert [row["test accuracy"] for row in rows] == ["0.5000", "0.5000"]
    assert [row["test F1"] for row in rows] == ["0.2500", "0.2500"]
    assert [row["minutes"] for row in rows] == ["1.00", "1.50"]


def test_records_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "job.json").write_text("{")
    write_json(tmp_path / "b" / "job.json", {"version": 2, "number": 0})
    assert read_jobs(tmp_path) == []


def test_a_row_is_shorten_for_the_terminal_alone():
    row = {
        "lr": "0.0020554062603827007",
        "seed": "4294967295",
        "directory": "d",
        "reason": "x" * 99,
    }
    assert shorten(row) == {"lr": "0.002055", "seed": "4294967295", "reason": "x" * 57 + "..."}
