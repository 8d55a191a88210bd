import pytest

from mnist_vision.report.sections.differences import MAX_ALL_PAIRS, compare_pairs, pairs_table
from tests.report.fixtures import digits, shared_test, write_run


def test_pairs_of_few_settings_are_all_tested(tmp_path):
    """b is right where a is wrong 12 times and never the other way round: p = 2 / 2^12."""
    targets = digits(200)
    predictions = {"a": targets.copy(), "b": targets.copy(), "c": targets.copy()}
    predictions["a"][:20] = -1
    predictions["b"][12:20] = -1
    predictions["c"][10:20] = -1
    for name, predicted in predictions.items():
        write_run(tmp_path / name, overrides=[f"{name}=1"], targets=targets, predictions=predicted)
    test = shared_test(tmp_path)
    pairs = {f"{pair.first.label} {pair.second.label}": pair for pair in compare_pairs(test)}
    assert set(pairs) == {"cnn b=1 cnn c=1", "cnn b=1 cnn a=1", "cnn c=1 cnn a=1"}
    against = pairs["cnn b=1 cnn a=1"]
    assert against.outcome == pytest.approx((12, 0, 2 / 2**12))
    assert against.adjusted == pytest.approx(3 * 2 / 2**12)
    assert against.is_real
    assert not pairs["cnn b=1 cnn c=1"].is_real
    verdicts = [row[2].text for row in pairs_table(test).rows]
    assert "yes: cnn b=1 is better" in verdicts
    assert "may be chance" in verdicts


def test_pairs_of_many_settings_are_those_with_the_best_by_validation(tmp_path):
    for number in range(MAX_ALL_PAIRS + 1):
        accuracy = 0.9 + number / 100
        write_run(tmp_path / f"{number}", overrides=[f"n={number}"], accuracy=accuracy)
    test = shared_test(tmp_path)
    pairs = compare_pairs(test)
    assert len(pairs) == MAX_ALL_PAIRS
    assert {pair.first.label for pair in pairs} == {f"cnn n={MAX_ALL_PAIRS}"}


def test_the_lowest_seed_represents_a_setting_whatever_it_reached(tmp_path):
    targets = digits(200)
    for seed, num_wrong in ((3, 30), (7, 0)):
        predictions = targets.copy()
        predictions[:num_wrong] = -1
        write_run(tmp_path / f"{seed}", seed=seed, targets=targets, predictions=predictions)
    write_run(tmp_path / "other", overrides=["b=1"], targets=targets, predictions=targets)
    test = shared_test(tmp_path)
    (pair,) = compare_pairs(test)
    assert sorted(pair.outcome[:2]) == [0, 30]
