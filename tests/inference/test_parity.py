import numpy as np

from mnist_vision.inference.parity import compare
from mnist_vision.inference.raw_outputs import read_outputs


def first_pixels(shift=0.0):
    """A network whose scores are an image's first ten pixels; its last image's are shifted."""

    def network(images):
        scores = images.reshape(len(images), -1)[:, :10].copy()
        scores[-1, 0] += shift
        return read_outputs({"scores": scores})

    return network


IMAGES = np.random.default_rng(0).random((20, 1, 28, 28), np.float32)


def test_a_network_equals_itself_in_any_batches():
    parity = compare(first_pixels(), first_pixels(), [IMAGES, IMAGES[:3]])
    assert parity.is_reached
    assert parity.num_images == 23
    assert parity.largest_difference < 1e-6


def test_a_difference_in_one_batch_size_is_found():
    assert not compare(first_pixels(shift=0.01), first_pixels(), [IMAGES]).is_reached


def test_another_class_is_found_however_small_the_difference():
    images = np.zeros((1, 1, 28, 28), np.float32)
    parity = compare(first_pixels(shift=-1e-6), first_pixels(), [images])
    assert parity.largest_difference < 1e-4
    assert parity.num_other_classes == 3  # once in each batch size
    assert not parity.is_reached


def test_a_missed_image_differs_from_one_that_is_found():
    def misses(images):
        return read_outputs({"scores": np.full((len(images), 10), -np.inf, np.float32)})

    def unsure(images):
        return read_outputs({"scores": np.zeros((len(images), 10), np.float32)})

    assert not compare(misses, unsure, [IMAGES]).is_reached
