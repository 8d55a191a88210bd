"""Pictures show the digit and its attribution."""

import numpy as np
import pytest

from mnist_vision.evaluation.attribution_pictures import draw_explanation, overlay


@pytest.fixture
def image():
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 12:16] = 255
    return pixels


def test_what_speaks_for_the_digit_is_vermilion_and_what_speaks_against_it_blue(image):
    attribution = np.zeros((28, 28))
    attribution[:6, :6], attribution[20:26, :6] = 2, -2
    drawn = overlay(image, attribution)
    assert (drawn[2, 2] == (213, 94, 0)).all()
    assert (drawn[22, 2] == (0, 114, 178)).all()
    assert (drawn[10, 2] == 255).all()
    assert (drawn[10, 13] == 178).all()


def test_ink_is_visible_under_the_colour(image):
    drawn = overlay(image, np.ones((28, 28)))
    assert (drawn[10, 13] < 0.8 * drawn[10, 2] + 1).all()


def test_one_outlier_does_not_leave_the_rest_pale(image):
    attribution = np.full((28, 28), 1.0)
    attribution[0, 0] = 100
    assert overlay(image, attribution)[27, 27].tolist() != [255] * 3


def test_no_attribution_leaves_the_digit_grey(image):
    drawn = overlay(image, np.zeros((28, 28)))
    assert (drawn == drawn[..., :1]).all()


def test_an_explanation_is_three_pictures_side_by_side(image):
    cam, gradients = np.ones((28, 28)), -np.ones((28, 28))
    drawn = draw_explanation(image, cam, gradients)
    assert drawn.shape == (28, 88, 3)
    assert (drawn[:, :28] == 255 - image[..., None]).all()
    assert (drawn[:, 30:58] == overlay(image, cam)).all()
    assert (drawn[:, 60:] == overlay(image, gradients)).all()
    assert (drawn[:, 28:30] == 255).all()
