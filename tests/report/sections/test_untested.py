from mnist_vision.report.sections.untested import SECTION
from tests.report.fixtures import compare_runs, write_run, write_untested_run


def test_settings_without_a_test_have_a_row_each_by_validation_accuracy(tmp_path):
    write_run(tmp_path / "tested")
    for seed, accuracy in enumerate((0.97, 0.98, 0.99)):
        overrides = ["optimizer=sgd"]
        folder = tmp_path / f"sgd_{seed}"
        write_untested_run(folder, overrides=overrides, seed=seed, accuracy=accuracy)
    write_untested_run(tmp_path / "adam", accuracy=0.99, overrides=[])
    (table,) = SECTION.make_blocks(compare_runs(tmp_path))
    first, second = ([(cell.text, cell.note) for cell in row] for row in table.rows)
    assert first[1:5] == [("cnn", ""), ("1", ""), ("0.9910", ""), ("0.9910 to 0.9910", "")]
    assert second[1:3] == [("cnn optimizer=sgd", ""), ("3", "")]
    assert second[3:5] == [("0.9820", "± 0.0090"), ("0.9730 to 0.9910", "")]
    assert second[5:] == [("3", ""), ("100.0", "")]


def test_without_such_runs_there_is_no_section(tmp_path):
    write_run(tmp_path / "tested")
    assert SECTION.make_blocks(compare_runs(tmp_path)) == []


def test_the_same_seed_again_does_not_count_twice(tmp_path):
    for name in ("a", "b"):
        write_untested_run(tmp_path / name)
    write_run(tmp_path / "tested")
    comparison = compare_runs(tmp_path)
    assert [len(setting.runs) for setting in comparison.untested] == [1]
    assert [one.path.name for one in comparison.repeats] == ["a"]
