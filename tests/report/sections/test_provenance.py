import numpy as np

from mnist_vision.report.sections.provenance import SECTION, environments_table
from tests.report.fixtures import ENVIRONMENT, compare_runs, write_job, write_run


def test_environments_are_counted(tmp_path):
    other = ENVIRONMENT | {"device": "NVIDIA H100", "git": None}
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, environment=other)
    write_run(tmp_path / "c", seed=2)
    table = environments_table(compare_runs(tmp_path).runs)
    assert [row[-1].text for row in table.rows] == ["2", "1"]
    assert "NVIDIA H100" in [cell.text for cell in table.rows[1]]
    assert np.all(["None" not in cell.text for row in table.rows for cell in row])


def test_what_is_missing_is_listed_with_its_reason(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name)
    write_job(tmp_path / "job")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "results.json").write_text("{")
    _, failed, jobs, left_out, others = SECTION.make_blocks(compare_runs(tmp_path))
    assert (failed.text, left_out.text) == ("Runs that did not complete: 1", "Left out: 2")
    assert jobs.rows[0][3].text.endswith("give model.weights=PATH")
    assert [row[1].text for row in others.rows] == [
        "results.json: is damaged, no JSON",
        f"not counted: {tmp_path / 'b'} has the same settings and seed",
    ]
