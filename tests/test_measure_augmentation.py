"""The script that measures what each part of the strong augmentation brings."""

from docs.measure_augmentation import SUITE, TAUGHT, mean, train_and_measure
from tests.conftest import composed


def test_each_part_is_measured_by_corruptions_of_the_suite():
    augmentation = composed("data/augmentation=strong").data.augmentation
    parts = {f"{group}.{name}" for group in ("digits", "pictures") for name in augmentation[group]}
    assert parts == TAUGHT.keys()
    names = {name for taught in TAUGHT.values() for name in taught}
    assert names <= {corruption.name for corruption in SUITE}


def test_a_network_is_trained_and_measured_under_each_corruption(digits):
    small = ["data.val_size=100", "data.batch_size=100", "model.widths=[2]", "model.hidden=4"]
    figures = train_and_measure(["~data.augmentation.digits.affine", *small], 1)
    assert list(figures) == ["clean", *(corruption.name for corruption in SUITE)]
    assert 0 <= mean(figures) <= 1
