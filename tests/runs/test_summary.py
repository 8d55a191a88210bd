from mnist_vision.runs.record import TestFigures
from mnist_vision.runs.summary import figure_lines


def test_figures_are_shown_in_two_columns():
    figures = TestFigures(accuracy=0.99, f1=0.98, num_mistakes=100, num_images=10_000, missed=7)
    assert figure_lines(figures) == [
        "test accuracy      0.9900",
        "test F1 (macro)    0.9800",
        "mistakes           100 of 10,000, 7 of them not found",
    ]


def test_accuracy_without_label_errors_comes_second():
    figures = TestFigures(
        accuracy=0.99, accuracy_without_label_errors=0.991, f1=0.98, num_mistakes=1, num_images=100
    )
    assert figure_lines(figures)[:2] == [
        "test accuracy      0.9900",
        "                   0.9910 without the 15 digits whose label is known to be wrong",
    ]
