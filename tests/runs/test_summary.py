from mnist_vision.runs.calibration_record import Calibration
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


def test_calibration_and_confidence_are_a_line_each():
    figures = TestFigures(accuracy=0.99, f1=0.98, num_mistakes=100, num_images=10_000)
    before, after = ({"value": ece, "low": 0.0, "high": 1.0} for ece in (0.0031, 0.0012))
    calibration = Calibration.parse(
        {
            "temperature": 1.4,
            "threshold": 0.9,
            "before": dict.fromkeys(("nll", "brier", "ece"), before),
            "after": dict.fromkeys(("nll", "brier", "ece"), after),
            "coverage": 0.987,
            "accepted_error": 0.0011,
        },
        "calibration",
    )
    assert figure_lines(figures, calibration)[3:] == [
        "calibration error  0.0012; 0.0031 before temperature scaling",
        "confident in       98.7 % of the digits, 0.11 % of which are wrong",
    ]
    unscaled = calibration.model_copy(update={"temperature": 1.0, "accepted_error": None})
    assert figure_lines(figures, unscaled)[3:] == ["calibration error  0.0012"]
