import torch

from mnist_vision.data.constants import MISSED
from mnist_vision.evaluation.shift_averaging import ShiftAveraged, shifts
from mnist_vision.models.classifier import DigitClassifier, predict


def test_images_move_by_each_number_of_pixels():
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 10, 20] = 1.0
    moved = shifts(image, 2)
    places = {tuple(each[0, 0].nonzero().flatten().tolist()) for each in moved}
    assert places == {(row, column) for row in range(8, 13) for column in range(18, 23)}
    assert len(moved) == 25
    assert all(each.shape == image.shape for each in moved)


def test_pixels_that_leave_an_image_do_not_come_back():
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 0, 0] = 1.0
    assert sorted(each.sum().item() for each in shifts(image, 1)) == [0.0] * 5 + [1.0] * 4


class FirstPixel(DigitClassifier):
    """Is sure of the digit that the first pixel names, and misses digits on black."""

    def forward(self, images):
        digits = (images[:, 0, 0, 0] * 9).round().long()
        scores = torch.zeros(len(images), 10)
        scores[torch.arange(len(images)), digits] = 4.0
        return scores.masked_fill(digits[:, None] == 0, -torch.inf)


def test_the_scores_are_the_logarithm_of_the_mean_of_the_calibrated_probabilities():
    network = FirstPixel()
    network.temperature = 2.0
    images = torch.full((1, 1, 28, 28), 5 / 9)
    images[0, 0, 1, 1] = 7 / 9
    scores = ShiftAveraged(network, 1)(images)
    expected = torch.stack(
        [network.probabilities(network(each)) for each in shifts(images, 1)]
    ).mean(dim=0)
    torch.testing.assert_close(scores.exp(), expected)
    assert predict(scores).item() == 5


def test_a_digit_is_missed_if_it_is_missed_at_all_shifts():
    images = torch.zeros(2, 1, 28, 28)
    images[1, 0, 1, 1] = 3 / 9  # at the first pixel after one of the shifts
    scores = ShiftAveraged(FirstPixel(), 1)(images)
    assert predict(scores).tolist() == [MISSED, 3]


def test_no_shift_changes_no_prediction():
    network = FirstPixel()
    images = torch.rand(5, 1, 28, 28) * 0.8 + 0.2
    torch.testing.assert_close(
        ShiftAveraged(network, 0)(images).exp(), network.probabilities(network(images))
    )


def test_the_architecture_is_that_of_the_network():
    assert ShiftAveraged(FirstPixel(), 1).architecture == FirstPixel().architecture
