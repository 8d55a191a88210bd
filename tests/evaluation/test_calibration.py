import math

import pytest
import torch
from torch.nn import functional as F
from torchmetrics.classification import MulticlassCalibrationError

from mnist_vision.evaluation import calibration
from mnist_vision.evaluation.calibration import (
    NUM_BINS,
    apply_temperature,
    find_right,
    fit_scaling,
    fit_temperature,
    fit_threshold,
    measure_calibration,
)


def overconfident(
    num_digits: int = 4000, temperature: float = 2.5, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that are right once a known temperature is applied, and their targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_digits, 10, generator=generator, dtype=torch.float64)
    targets = logits.softmax(dim=1).multinomial(1, generator=generator).squeeze(1)
    return (temperature * logits).softmax(dim=1), targets


def test_applying_a_temperature_divides_the_logits():
    logits = torch.randn(50, 10, dtype=torch.float64)
    found = apply_temperature(logits.softmax(dim=1), 1.7)
    torch.testing.assert_close(found, (logits / 1.7).softmax(dim=1))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    probabilities, targets = overconfident(temperature=temperature)
    assert fit_temperature(probabilities, targets) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_higher_likelihood():
    probabilities, targets = overconfident(500)
    best = fit_temperature(probabilities, targets)
    assert best == fit_temperature(probabilities.clone(), targets)

    def nll(temperature: float) -> float:
        return F.nll_loss(apply_temperature(probabilities, temperature).log(), targets).item()

    assert all(nll(best) <= nll(best * factor) for factor in (0.1, 0.9, 0.999, 1.001, 1.1, 5))


def test_without_a_mistake_the_temperature_is_1():
    targets = torch.arange(10)
    probabilities = torch.full((10, 10), 0.01).fill_diagonal_(0.91)
    assert fit_temperature(probabilities, targets) == 1
    assert fit_temperature(torch.eye(10), targets) == 1


def test_missed_and_impossible_digits_do_not_change_the_temperature():
    probabilities, targets = overconfident(500)
    missed = torch.full((20, 10), 0.1, dtype=torch.float64)
    impossible = torch.eye(10, dtype=torch.float64)[[3] * 20]
    others = torch.cat([probabilities, missed, impossible])
    found = fit_temperature(others, torch.cat([targets, torch.full((40,), 5)]))
    assert found == pytest.approx(fit_temperature(probabilities, targets), abs=1e-4)
    assert fit_temperature(impossible, torch.full((20,), 5)) == 1


def test_a_network_that_finds_nothing_has_no_threshold():
    missed = torch.full((20, 10), 0.1)
    scaling = fit_scaling(missed, torch.zeros(20, dtype=torch.int64))
    assert (scaling.temperature, scaling.threshold) == (1, None)


def test_the_threshold_is_one_of_calibrated_confidences():
    probabilities, targets = overconfident()
    scaling = fit_scaling(probabilities, targets)
    found = measure_calibration(probabilities, targets, scaling.temperature, scaling.threshold)
    assert scaling.threshold in apply_temperature(probabilities, scaling.temperature)
    assert 0 < found.coverage < 1
    assert found.accepted_error <= 0.001


def test_a_temperature_stays_in_its_range():
    hopeless = torch.full((30, 10), 0.01).index_fill_(1, torch.tensor(0), 0.91)
    assert fit_temperature(hopeless, torch.ones(30, dtype=torch.int64)) == pytest.approx(20, 1e-3)


def test_a_missed_digit_is_wrong_whatever_its_class():
    probabilities = torch.cat([torch.full((1, 10), 0.1), torch.eye(10)[:1]])
    assert find_right(probabilities, torch.tensor([0, 0])).tolist() == [False, True]


def test_the_threshold_is_the_lowest_that_keeps_the_share_of_mistakes():
    confidences = torch.tensor([0.99, 0.9, 0.8, 0.7, 0.6, 0.5])
    is_right = torch.tensor([True, True, False, True, True, False])
    assert fit_threshold(confidences, is_right, 0.2) == pytest.approx(0.6)
    assert fit_threshold(confidences, is_right, 0.1) == pytest.approx(0.9)
    shuffled = torch.tensor([4, 0, 5, 2, 1, 3])
    assert fit_threshold(confidences[shuffled], is_right[shuffled], 0.2) == pytest.approx(0.6)
    assert fit_threshold(confidences, torch.ones(6, dtype=torch.bool)) == 0.5


def test_there_may_be_no_threshold():
    confidences = torch.tensor([0.9, 0.8, 0.7])
    assert fit_threshold(confidences, torch.tensor([False, True, True])) is None


def test_equal_confidences_are_accepted_together():
    confidences = torch.tensor([0.9, 0.8, 0.8])
    assert fit_threshold(confidences, torch.tensor([True, True, False])) == pytest.approx(0.9)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_figures_equal_their_definitions(temperature):
    probabilities, targets = overconfident(1000)
    found = measure_calibration(probabilities, targets, temperature, 0.9)
    calibrated = apply_temperature(probabilities, temperature)
    for figures, expected in ((found.before, probabilities), (found.after, calibrated)):
        error = MulticlassCalibrationError(10, n_bins=NUM_BINS, norm="l1")(expected, targets)
        brier = (expected - torch.eye(10)[targets]).square().sum(dim=1).mean()
        assert figures.ece.value == pytest.approx(float(error), abs=2e-6)
        assert figures.nll.value == pytest.approx(
            float(F.nll_loss(expected.log(), targets)), abs=1e-6
        )
        assert figures.brier.value == pytest.approx(float(brier), abs=1e-6)
    highest, classes = calibrated.max(dim=1)
    is_accepted = highest >= 0.9
    assert found.coverage == pytest.approx(float(is_accepted.float().mean()), abs=1e-6)
    wrong = (classes != targets)[is_accepted].float().mean()
    assert found.accepted_error == pytest.approx(float(wrong), abs=1e-6)


def test_the_right_temperature_calibrates():
    probabilities, targets = overconfident()
    found = measure_calibration(probabilities, targets, 2.5, None)
    assert found.after.ece.high < found.before.ece.low
    assert found.after.nll.high < found.before.nll.low
    assert (found.coverage, found.accepted_error) == (0, None)


def test_intervals_are_those_of_the_sampling_error():
    """Of a mean the bootstrap's interval is the normal one."""
    probabilities, targets = overconfident()
    nll = -probabilities.gather(1, targets[:, None]).log().squeeze(1)
    found = measure_calibration(probabilities, targets, 2.5, None).before.nll
    reach = 1.96 * float(nll.std()) / math.sqrt(len(nll))
    assert found.low == pytest.approx(found.value - reach, abs=0.2 * reach)
    assert found.high == pytest.approx(found.value + reach, abs=0.2 * reach)


def test_resampled_calibration_errors_are_those_of_resampled_digits(monkeypatch):
    """Against torchmetrics on the same resample."""
    monkeypatch.setattr(calibration, "NUM_RESAMPLES", 1)
    monkeypatch.setattr(calibration, "_CHUNK", 1)
    probabilities, targets = overconfident(300)
    rows = torch.randint(300, (1, 300), generator=torch.Generator().manual_seed(0))[0]
    metric = MulticlassCalibrationError(10, n_bins=NUM_BINS, norm="l1")
    expected = float(metric(probabilities[rows], targets[rows]))
    found = measure_calibration(probabilities, targets, 1.0, None).before.ece
    assert found.low == found.high == pytest.approx(expected, abs=2e-6)
    assert found.value != pytest.approx(expected, abs=1e-4)


def test_zeros_and_certainty_have_finite_figures():
    probabilities = torch.cat([torch.eye(10), torch.full((1, 10), 0.1)])
    targets = torch.tensor([*range(1, 10), 0, 3])
    found = measure_calibration(probabilities, targets, 3.0, 1.0)
    assert found.before.nll.value == pytest.approx((10 * 36.04 + math.log(10)) / 11, abs=0.01)
    assert found.accepted_error == 1
