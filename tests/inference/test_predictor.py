from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

import mnist_vision
from mnist_vision.common.errors import UserError
from mnist_vision.inference.network import Detections, Outputs
from mnist_vision.inference.predictor import Predictor
from tests.inference.pens import ONE, SEVEN, drawn

DIGIT = np.zeros((28, 28), np.uint8)
DIGIT[4:24, 12:16] = 255


@dataclass
class FakeNetwork:
    """Says the same of every image, and keeps what it was shown."""

    probabilities: list[float]
    is_missed: bool = False
    boxes: list[tuple[tuple[float, ...], int, float]] | None = None
    is_for_scenes: bool = False
    architecture: str = "fake"
    temperature: float = 1.0
    shown: list[np.ndarray] = field(default_factory=list)

    def __call__(self, images):
        self.shown.append(images)
        found = None
        if self.boxes is not None:
            boxes, labels, scores = zip(*self.boxes, strict=True) if self.boxes else ((), (), ())
            one = Detections(
                np.array(boxes, np.float32).reshape(-1, 4), np.array(labels), np.array(scores)
            )
            found = [one] * len(images)
        probabilities = np.tile(np.array(self.probabilities, np.float32), (len(images), 1))
        is_missed = np.full(len(images), self.is_missed)
        return Outputs(probabilities, is_missed, found, self.temperature)


def sure_of(digit, probability=0.91, **kwargs):
    shares = np.full(10, (1 - probability) / 9)
    shares[digit] = probability
    return FakeNetwork(list(shares), **kwargs)


def test_the_digit_of_the_highest_probability_is_read():
    network = sure_of(7)
    found = Predictor([network])(DIGIT)
    assert (found.digit, found.box) == (7, (12, 4, 16, 24))
    assert found.confidence == pytest.approx(0.91)
    assert found.probabilities.sum() == pytest.approx(1)
    np.testing.assert_array_equal(found.shown, DIGIT)
    np.testing.assert_array_equal(network.shown[0], DIGIT[None, None].astype(np.float32) / 255)


def test_of_several_networks_the_mean_counts():
    predictor = Predictor([sure_of(1, 0.6), sure_of(2, 0.9)])
    found = predictor(DIGIT)
    assert (predictor.name, found.digit) == ("fake+fake", 2)
    assert found.confidence == pytest.approx((0.9 + 0.4 / 9) / 2)


def test_a_digit_that_one_of_two_networks_misses_is_read():
    missing = FakeNetwork([0.1] * 10, is_missed=True)
    assert Predictor([missing])(DIGIT) is None
    assert Predictor([missing, sure_of(5)])(DIGIT).digit == 5


def test_a_blank_picture_is_not_shown_to_the_network():
    network = sure_of(3)
    assert Predictor([network])(np.zeros((28, 28), np.uint8)) is None
    assert Predictor([network]).read(np.full((90, 90), 200, np.uint8)) == []
    assert network.shown == []


def test_the_box_of_a_detector_is_in_pixels_of_the_picture():
    network = sure_of(1, boxes=[((10, 4, 18, 24), 1, 0.9), ((0, 0, 5, 5), 4, 0.3)])
    assert Predictor([network]).gives_boxes
    assert not Predictor([sure_of(1)]).gives_boxes
    assert Predictor([network])(DIGIT).box == (10, 4, 18, 24)
    picture = drawn((ONE, (150, 100, 250, 300)), size=(500, 400))
    x1, y1, x2, y2 = Predictor([network])(picture).box
    assert x2 - x1 == pytest.approx(8 * (y2 - y1) / 20)
    assert y1 == pytest.approx(100, abs=15)
    assert y2 == pytest.approx(300, abs=15)


def test_several_digits_are_one_batch():
    network = sure_of(1)
    picture = drawn((ONE, (20, 20, 60, 180)), (SEVEN, (120, 20, 180, 180)))
    assert [found.digit for found in Predictor([network]).read(picture)] == [1, 1]
    assert [images.shape for images in network.shown] == [(2, 1, 28, 28)]


def test_a_detector_for_scenes_reads_the_whole_picture():
    boxes = [
        ((40, 20, 52, 40), 7, 0.9),
        ((12, 20, 24, 40), 1, 0.8),
        ((13, 20, 25, 40), 4, 0.2),
        ((0, 0, 9, 9), 3, 0.3),
    ]
    network = sure_of(0, boxes=boxes, is_for_scenes=True)
    picture = drawn((ONE, (20, 20, 60, 180)), (SEVEN, (120, 20, 180, 180)))
    one, seven = Predictor([network]).read(picture)
    assert (one.digit, seven.digit) == (1, 7)
    assert one.probabilities[[1, 4]] == pytest.approx([0.8, 0.2])
    assert seven.confidence == 1
    assert one.box[2] < seven.box[0]
    (shape,) = [images.shape for images in network.shown]
    assert shape[0] == 1
    assert min(shape[2:]) >= 64


def test_confidences_in_a_scene_are_calibrated():
    boxes = [((12, 20, 24, 40), 1, 0.8), ((13, 20, 25, 40), 4, 0.2)]
    network = sure_of(0, boxes=boxes, is_for_scenes=True, temperature=2.0)
    picture = drawn((ONE, (20, 20, 60, 180)), (SEVEN, (120, 20, 180, 180)))
    (one,) = Predictor([network]).read(picture)
    assert one.probabilities[[1, 4]] == pytest.approx([2 / 3, 1 / 3])  # roots of 4 and 1


def test_a_detector_for_scenes_sees_one_digit_on_a_larger_canvas():
    network = sure_of(6, boxes=[((28, 22, 36, 42), 6, 0.9)], is_for_scenes=True)
    found = Predictor([network])(DIGIT)
    assert (found.digit, found.box) == (6, (10, 4, 18, 24))
    assert network.shown[0].shape == (1, 1, 64, 64)


def test_the_library_call_takes_a_path_bytes_an_image_and_an_array(trained_cnn, tmp_path):
    predictor = mnist_vision.load_predictor(trained_cnn)
    path = tmp_path / "seven.png"
    Image.fromarray(255 - DIGIT).save(path)
    pictures = [path, str(path), path.read_bytes(), Image.open(path), DIGIT, DIGIT / 255]
    assert [predictor(picture).digit for picture in pictures] == [1] * 6


def test_the_library_call_names_a_file_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match=r"none\.ckpt: no such file"):
        mnist_vision.load_predictor(tmp_path / "none.ckpt")
    with pytest.raises(TypeError, match="needs the path"):
        mnist_vision.load_predictor()
    with pytest.raises(AttributeError, match="load_predicter"):
        _ = mnist_vision.load_predicter
