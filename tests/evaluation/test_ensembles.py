import pytest
import torch

from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.ensembles import Answers, average, calibrate, compare
from mnist_vision.evaluation.measure import run_test
from mnist_vision.models.cnn import CNN


def answers(rows, targets):
    """Of a network whose scores are these; a row of None is a digit that it misses."""
    scores = torch.full((len(rows), 10), -torch.inf)
    for score, row in zip(scores, rows, strict=True):
        if row is not None:
            score.fill_(0.0)[: len(row)] = torch.tensor(row)
    return Answers.of(CNN(widths=[2]), scores, torch.tensor(targets))


def test_the_most_probable_digit_of_the_mean_counts():
    sure = answers([[5.0], [0.0, 1.0]], [0, 1])
    unsure = answers([[0.0, 2.0], [0.0, 0.0, 4.0]], [0, 1])
    both = average([sure, unsure])
    assert both.predictions.tolist() == [0, 2]
    mean = (sure.probabilities + unsure.probabilities) / 2
    torch.testing.assert_close(both.probabilities, mean)
    assert (both.accuracy, sure.accuracy, unsure.accuracy) == (0.5, 1.0, 0.0)


def test_each_member_counts_by_its_calibrated_probabilities():
    hot, scores, targets = CNN(widths=[2]), torch.eye(10)[:1] * 5, torch.tensor([0])
    hot.temperature = 5.0
    expected = torch.eye(10)[:1].double().softmax(dim=1)
    torch.testing.assert_close(Answers.of(hot, scores, targets).probabilities, expected)


def test_a_digit_is_missed_only_if_all_members_miss_it():
    first = answers([None, None, [0.0, 9.0]], [0, 0, 1])
    second = answers([None, [0.1], None], [0, 0, 1])
    both = average([first, second])
    assert both.predictions.tolist() == [-1, 0, 1]
    assert both.probabilities[1, 0] < 0.11  # half of it is uniform
    figures = both.figures()
    assert (figures.num_mistakes, figures.missed) == (1, 1)
    record = both.to_record()
    assert record.preds.tolist() == [-1, 0, 1]
    assert torch.isinf(torch.from_numpy(record.scores[0])).all()


def test_an_ensemble_of_one_has_the_figures_of_its_member(digits):
    torch.manual_seed(0)
    model = CNN(widths=[2, 3]).eval()
    outcome = run_test(model, MNISTDataModule("", augmentation=None), accelerator="cpu")
    alone = average([Answers.of(model, outcome.scores, outcome.targets)])
    assert alone.figures() == outcome.figures()
    probabilities = torch.from_numpy(alone.to_record().scores).softmax(dim=1)
    torch.testing.assert_close(probabilities, outcome.scores.softmax(dim=1))


def test_mcnemars_test_counts_digits_that_only_one_reads():
    rows = [[9.0], [9.0], [9.0], [9.0], [0.0, 9.0]]
    first, second = answers(rows, [0, 0, 0, 1, 1]), answers(rows[::-1], [0, 0, 0, 1, 1])
    outcome = compare(first, second)
    assert (outcome.ensemble_only, outcome.member_only) == (2, 0)
    assert outcome.p_value == pytest.approx(0.5)
    assert compare(first, first).p_value == 1


def test_the_temperature_comes_from_validation_images():
    targets = torch.arange(200) % 10
    scores = torch.eye(10)[targets] * 6
    scores[:20] = torch.eye(10)[(targets[:20] + 1) % 10] * 6
    model = CNN(widths=[2])
    unsure = Answers.of(model, scores, targets)
    right = Answers.of(model, torch.eye(10)[targets] * 6, targets)
    assert calibrate(unsure, right).temperature > 1.2
    assert calibrate(right, unsure).temperature == 1
