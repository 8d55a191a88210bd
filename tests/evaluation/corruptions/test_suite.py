"""The suite of corruptions: what all of them have in common."""

import numpy as np
import pytest

from mnist_vision.evaluation.corruptions.corruption import Corruption
from mnist_vision.evaluation.corruptions.suite import SUITES, VERSION, corrupt
from tests.evaluation.corruptions.digits import corrupted, draw_digits

SUITE = SUITES["corruptions"]
MNIST_C = {
    "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate",
    "brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag", "canny_edges",
}  # fmt: skip
# Of the images of `draw_digits(300)`, in version 1.
MEANS = {
    "shot_noise": 28.46,
    "impulse_noise": 50.82,
    "glass_blur": 34.78,
    "motion_blur": 34.77,
    "shear": 37.73,
    "scale": 17.23,
    "rotate": 34.77,
    "translate": 34.79,
    "brightness": 147.92,
    "fog": 101.87,
    "stripe": 162.29,
    "spatter": 38.47,
    "dotted_line": 40.70,
    "zigzag": 46.71,
    "canny_edges": 22.25,
    "thick_pen": 57.00,
    "thin_pen": 15.38,
    "inversion": 220.21,
    "affnist": 34.04,
}
# Other processors and versions of the libraries may round differently.
TOLERANCE = 0.01

every_corruption = pytest.mark.parametrize("corruption", SUITE, ids=lambda each: each.name)


def test_the_mean_is_over_the_15_of_mnist_c():
    assert {each.name for each in SUITE if each.is_in_mean} == MNIST_C
    assert len(SUITE) == len({each.name for each in SUITE}) == 19


@every_corruption
def test_a_corruption_changes_all_images_but_not_its_input(corruption: Corruption):
    images = draw_digits(60)
    before = images.copy()
    after = corrupt(corruption, images)
    assert after.shape == images.shape
    assert after.dtype == np.uint8
    assert (after != images).any(axis=(1, 2)).all()
    assert (images == before).all()


@every_corruption
def test_the_same_images_give_the_same_result(corruption: Corruption):
    images = draw_digits(60)
    assert (corrupt(corruption, images) == corrupt(corruption, images)).all()


@every_corruption
def test_digits_differ_from_each_other_when_corrupted(corruption: Corruption):
    after = corrupt(corruption, draw_digits(10))
    assert len(np.unique(after.reshape(10, -1), axis=0)) == 10


@every_corruption
def test_black_images_have_no_division_by_zero(corruption: Corruption):
    after = corrupt(corruption, np.zeros((3, 28, 28), np.uint8))
    assert after.shape == (3, 28, 28)


@every_corruption
def test_no_images_stay_none(corruption: Corruption):
    assert corrupt(corruption, np.zeros((0, 28, 28), np.uint8)).shape == (0, 28, 28)


def test_more_images_than_are_corrupted_at_once_differ_in_their_noise():
    same = np.repeat(draw_digits(1), 2_001, axis=0)
    noisy = corrupted("impulse_noise", same)
    assert len(np.unique(noisy.reshape(len(same), -1), axis=0)) == len(same)


@every_corruption
def test_a_corruption_that_changes_has_a_new_version(corruption: Corruption):
    assert VERSION == 1, "write the means of the new version into this file"
    mean = corrupt(corruption, draw_digits(300)).mean()
    assert mean == pytest.approx(MEANS[corruption.name], rel=TOLERANCE)
