from mnist_vision.report.blocks import Cell
from mnist_vision.report.sections.all_settings import SECTION, settings_table
from tests.report.fixtures import compare_runs, shared_test, write_run


def test_a_setting_is_a_row_and_the_best_are_marked(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", overrides=["a=1"], seed=seed, accuracy=0.95 + seed / 200)
    write_run(tmp_path / "b", overrides=["b=1"], accuracy=0.9, num_parameters=10, seconds=7)
    first, second = settings_table(shared_test(tmp_path)).rows
    assert first[4] == Cell("0.9550", "± 0.0050", is_best=True)
    assert first[5] == Cell("0.9426 to 0.9674", "over seeds")
    assert second[4] == Cell("0.9000")
    assert second[5].note == "over images, 1 seed"
    assert second[8] == Cell("10", is_best=True)
    assert second[9].is_best
    assert not first[9].is_best


def test_a_run_is_a_row_with_the_metrics_that_only_it_has(tmp_path):
    half, end = {"epoch": 0.5, "val/accuracy": 0.9}, {"epoch": 1, "train/loss": 0.1}
    history = [half, end | {"train/accuracy": 0.9}]
    write_run(tmp_path / "a", test={"mAP": 0.82}, epochs=7, history=history)
    write_run(tmp_path / "b", seed=1)
    _, details = SECTION.make_blocks(compare_runs(tmp_path))
    table = details.table
    assert details.summary == "All runs (2)"
    assert [row[1].note for row in table.rows] == ["mAP 0.82", ""]
    assert [row[2].text for row in table.rows] == ["0", "1"]
    assert [row[3].text for row in table.rows] == ["7", "3"]
    assert table.rows[0][table.columns.index("mistakes")].text == "2"
