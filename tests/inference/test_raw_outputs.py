import numpy as np

from mnist_vision.inference.raw_outputs import read_outputs


def test_an_image_without_a_finite_score_is_missed():
    scores = np.full((2, 10), -np.inf, np.float32)
    scores[1, 3] = -2
    found = read_outputs({"scores": scores})
    assert found.is_missed.tolist() == [True, False]
    np.testing.assert_allclose(found.probabilities[0], 0.1, rtol=1e-6)
    assert found.probabilities[1].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_large_scores_do_not_overflow():
    scores = np.array([[1000.0] * 2 + [-1000.0] * 8], np.float32)
    assert read_outputs({"scores": scores}).probabilities[0, :3].tolist() == [0.5, 0.5, 0]


def test_a_temperature_divides_the_scores():
    scores = np.array([[3, 1, -np.inf, 0, 0, 0, 0, 0, 0, 0], [-np.inf] * 10], np.float32)
    found = read_outputs({"scores": scores}, 2.0)
    ratio = found.probabilities[0, 0] / found.probabilities[0, 1]
    np.testing.assert_allclose(ratio, np.e, rtol=1e-6)
    assert found.probabilities[0, 2] == 0
    np.testing.assert_allclose(found.probabilities[1], 0.1, rtol=1e-6)
    assert found.temperature == 2


def test_padding_is_no_detection():
    found = read_outputs(
        {
            "scores": np.zeros((2, 10), np.float32),
            "boxes": np.arange(16, dtype=np.float32).reshape(2, 2, 4),
            "labels": np.array([[5, -1], [-1, -1]]),
            "box_scores": np.array([[0.5, 0], [0, 0]], np.float32),
        }
    )
    first, second = found.detections
    assert first.boxes.tolist() == [[0, 1, 2, 3]]
    assert first.labels.tolist() == [5]
    assert first.scores.tolist() == [0.5]
    assert second.boxes.shape == (0, 4)
