import numpy as np
import pytest

from mnist_vision.data.constants import LABEL_ERRORS
from mnist_vision.data.label_errors import accuracy_without_label_errors, find_label_errors
from mnist_vision.data.mnist import load_split


@pytest.fixture(scope="module")
def official(mnist_root):
    return load_split(mnist_root, "test")[1].numpy()


def test_the_errors_are_those_of_mnists_test_digits_alone(official):
    assert find_label_errors(official).tolist() == list(LABEL_ERRORS)
    assert len(set(LABEL_ERRORS)) == 15
    assert official[list(LABEL_ERRORS)].tolist() == [8, 0, 9, 4, 2, 5, 6, 6, 5, 5, 0, 1, 4, 6, 5]
    for others in (official[::-1], official[:-1], np.append(official, 1), official[:0]):
        assert not len(find_label_errors(others))


def test_digits_with_a_wrong_label_do_not_count(official):
    predictions = official.copy()
    predictions[list(LABEL_ERRORS)] = -1
    assert accuracy_without_label_errors(official, predictions) == 1
    predictions = official.copy()
    predictions[0] = 3
    expected = round(1 - 1 / 9985, 6)
    assert accuracy_without_label_errors(official, predictions) == expected
    assert accuracy_without_label_errors(official[::-1], predictions[::-1]) is None
