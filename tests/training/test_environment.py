from mnist_vision.runs.record import TestFigures
from mnist_vision.training.environment import table, test_lines

test_lines.__test__ = False


def test_tables_have_two_columns():
    assert table({"a": "1", "b": "2"}) == ["a                  1", "b                  2"]
    lines = test_lines(
        TestFigures(accuracy=0.99, f1=0.98, num_mistakes=100, num_images=10_000, missed=7)
    )
    assert lines[-1].endswith("100 of 10,000, 7 of them not found")
