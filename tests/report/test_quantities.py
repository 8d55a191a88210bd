import math

import numpy as np

from mnist_vision.data.mnist import load_split
from mnist_vision.report.grouping import best_settings
from mnist_vision.report.quantities import NOTHING, QUANTITIES
from tests.report.fixtures import compare_runs, shared_test, write_robustness, write_run


def test_values_are_shown_in_their_format():
    shown = {name: quantity.show(1234.5) for name, quantity in QUANTITIES.items()}
    assert shown["test_accuracy"] == "1234.5000"
    assert shown["num_mistakes"] == shown["fit_seconds"] == "1,234.5"
    assert QUANTITIES["num_mistakes"].show(78.0) == "78"
    assert QUANTITIES["num_parameters"].show(206922) == "206,922"
    assert QUANTITIES["inference_ms"].show(0.0614) == "0.061"


def test_an_unknown_value_is_a_dash_and_never_the_best(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_run(tmp_path / name, overrides=[f"{name}=1"])
    test = shared_test(tmp_path)
    quantity = QUANTITIES["test_f1"]
    assert quantity.show(math.nan) == NOTHING
    known = {test.settings[0].representative: 0.5}
    monkeypatch.setitem(
        QUANTITIES,
        "new",
        type(quantity)("new", lambda run: known.get(run, math.nan), str, (), is_higher_better=True),
    )
    assert best_settings("new", test.settings) == [test.settings[0]]


def test_accuracy_is_best_where_high_and_cost_where_low(tmp_path):
    write_run(tmp_path / "a", overrides=["a=1"], accuracy=0.9, num_parameters=5)
    write_run(tmp_path / "b", overrides=["b=1"], accuracy=0.95, num_parameters=6)
    settings = shared_test(tmp_path).settings
    best = {name: [s.label for s in best_settings(name, settings)] for name in QUANTITIES}
    assert best["test_accuracy"] == best["val_accuracy"] == best["test_f1"] == ["cnn b=1"]
    assert best["num_parameters"] == ["cnn a=1"]
    assert best["num_mistakes"] == best["train_loss"] == ["cnn b=1"]
    assert best["fit_seconds"] == ["cnn b=1", "cnn a=1"]
    assert best_settings("test_accuracy", settings[:1]) == []


def test_accuracy_without_label_errors_is_known_for_mnists_test_digits_alone(mnist_root, tmp_path):
    targets = load_split(mnist_root, "test")[1].numpy()
    write_run(tmp_path / "mnist", targets=targets, predictions=targets)
    write_run(tmp_path / "others", targets=np.flip(targets), predictions=np.flip(targets))
    quantity = QUANTITIES["test_accuracy_without_label_errors"]
    known = [quantity.show(quantity.of(run)) for run in compare_runs(tmp_path).runs]
    assert sorted(known) == ["1.0000", NOTHING]


def test_a_mean_is_taken_over_the_runs_that_have_a_value(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"{seed}", seed=seed)
    (setting,) = shared_test(tmp_path).settings
    assert setting.show_mean("corrupted_accuracy") == NOTHING
    assert setting.show_deviation("corrupted_accuracy") == ""
    for seed, accuracy in ((0, 0.6), (1, 0.8)):
        write_robustness(tmp_path / f"{seed}", {"brightness": accuracy})
    (setting,) = shared_test(tmp_path).settings
    assert setting.show_mean("corrupted_accuracy") == "0.7000"
    assert setting.show_deviation("corrupted_accuracy") == "± 0.1414"
