from dataclasses import replace

import pytest

from mnist_vision.report.plotting import new_figure, scale_accuracy, use_plain_numbers
from mnist_vision.report.sections.confusion_matrices import plot_confusions
from mnist_vision.report.sections.cost import COSTS, plot_cost
from mnist_vision.report.sections.curves import CURVES, plot_curves
from tests.report.fixtures import shared_test, validated_twice_an_epoch, with_history, write_run

ROW = {"epoch": 1, "train/loss": 1e100, "train/accuracy": 1e-300, "val/accuracy": 1e-300}
EXTREMES = {
    "one epoch of a perfect run": [{"accuracy": 1.0, "epochs": 1}],
    "nothing right": [{"accuracy": 0.0}],
    "no time at all": [{"seconds": 0.0, "milliseconds": 0.0, "num_parameters": 0}],
    "numbers beyond reason": [
        {"seconds": 1e100, "milliseconds": 1e100, "num_parameters": 10**100, "history": [ROW]},
        {"seconds": 1e-300, "history": [ROW | {"train/loss": 1e-300}], "overrides": []},
    ],
    "thousands of epochs": [{"history": [ROW | {"epoch": n} for n in range(5000)]}],
    "mathematics and foreign letters": [{"overrides": ["a=$x^{$", "b=\u6f22\U0001f600"]}],
    "a long name": [{"overrides": [f"a={'x' * 300}"]}, {}],
    "more than there are colours": [{"overrides": [f"a={n}"]} for n in range(12)],
    "the same twice": [{"overrides": ["a=1"]}, {"overrides": ["a=2"]}],
}


@pytest.mark.parametrize("runs", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_drawn_without_a_warning(tmp_path, runs):
    for number, run in enumerate(runs):
        write_run(tmp_path / f"{number}", **run)
    test = shared_test(tmp_path)
    pictures = [plot_curves(test, name) for name in CURVES]
    pictures += [plot_cost(test, name) for name in COSTS]
    pictures.append(plot_confusions(test.settings[0]))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.parametrize("name", CURVES)
def test_curves_with_gaps_are_drawn_without_a_warning(tmp_path, name):
    for seed in range(2):
        write_run(tmp_path / f"{seed}", seed=seed)
    test = shared_test(tmp_path)
    (setting,) = test.settings
    for change in (validated_twice_an_epoch, lambda run: with_history(run, [{"epoch": 0.5}])):
        changed = replace(setting, runs=tuple(map(change, setting.runs)))
        assert plot_curves(replace(test, settings=(changed,)), name).startswith(b"\x89PNG")


def test_axes_have_plain_numbers_instead_of_powers_of_ten():
    figure, axes = new_figure(4, 4)
    axes.set_xscale("log")
    axes.set_xlim(0.5, 3e6)
    scale_accuracy(axes)
    axes.set_ylim(0.8, 0.9995)
    use_plain_numbers(axes.xaxis)
    figure.draw_without_rendering()
    for axis, expected in (
        (axes.xaxis, {"1", "10k", "1M"}),
        (axes.yaxis, {"0.9", "0.99", "0.999"}),
    ):
        assert expected <= {label.get_text() for label in axis.get_ticklabels(which="both")}
