from mnist_vision.report.sections.digit_sets import SECTION
from tests.report.fixtures import compare_runs, digits, write_run


def test_the_sets_of_test_digits_are_listed_if_there_are_several(tmp_path):
    write_run(tmp_path / "a")
    assert SECTION.make_blocks(compare_runs(tmp_path)) == []
    write_run(tmp_path / "b", overrides=["data=scenes"], targets=digits(150))
    write_run(tmp_path / "c", overrides=["model.hidden=8"])
    (table,) = SECTION.make_blocks(compare_runs(tmp_path))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["A", "cnn, cnn hidden=8", "200", "2"],
        ["B", "cnn data=scenes", "150", "1"],
    ]
