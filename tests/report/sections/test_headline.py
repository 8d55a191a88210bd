import numpy as np

from mnist_vision.report.sections.headline import SECTION, sentences
from tests.report.fixtures import compare_runs, digits, shared_test, write_run


def test_a_single_setting_is_described(tmp_path):
    write_run(tmp_path, overrides=["experiment=lab/cnn"])
    (sentence,) = sentences(shared_test(tmp_path))
    assert sentence == (
        "lab/cnn reaches a test accuracy of 0.9900 (1 seed; 95 % interval 0.9643 to 0.9973), with "
        "100,000 parameters, 100.0 s of training and 0.100 ms per image."
    )
    counts, paragraph = SECTION.make_blocks(compare_runs(tmp_path))
    assert (counts.text, paragraph.text) == ("1 run of 1 setting.", sentence)


def write_three(folder, wrong):
    """Writes runs with the first digits wrong; c is the cheapest to train."""
    targets = digits(200)
    for name, number in wrong.items():
        predictions = np.where(np.arange(200) < number, -1, targets)
        write_run(
            folder / name,
            overrides=[f"{name}=1"],
            targets=targets,
            predictions=predictions,
            seconds=50 if name == "c" else 100,
        )
    return sentences(shared_test(folder))


def test_settings_that_may_be_as_good_are_counted_and_the_cheapest_is_named(tmp_path):
    first, second = write_three(tmp_path, {"a": 2, "b": 60, "c": 4})
    assert first.startswith("cnn a=1 has the highest mean test accuracy, 0.9900 (1 seed; ")
    assert first.endswith(
        "Choose a setting by its validation accuracy, which is highest for this setting, too."
    )
    assert second.startswith(
        "On these digits, cnn a=1 cannot be distinguished from 1 of the 2 other "
    )
    assert "; the cheapest to train is cnn c=1 (test accuracy 0.9800), with " in second


def test_a_setting_may_differ_from_all_others(tmp_path):
    _, second = write_three(tmp_path, {"a": 2, "b": 60, "c": 40})
    assert second == "cnn a=1 differs from all 2 other settings by more than chance explains."


def test_tiles_name_the_extremes(tmp_path):
    write_three(tmp_path, {"a": 2, "b": 60, "c": 4})
    *_, tiles = SECTION.make_blocks(compare_runs(tmp_path))
    found = {tile.title: (tile.value, tile.label) for tile in tiles.tiles}
    assert found["highest mean test accuracy"] == ("0.9900", "cnn a=1")
    assert found["shortest training"] == ("50.0 s", "cnn c=1")
