import pytest
import torch

from mnist_vision.common.errors import FieldError
from mnist_vision.training.schedules import constant, cosine, warmup_cosine


def learning_rates(make_schedule, num_steps, **arguments):
    """The rates of two groups, of 1.0 and 0.1, at each step."""
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    scheduler = make_schedule(optimizer, num_steps, **arguments)
    rates = []
    for _ in range(num_steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates)


@pytest.mark.parametrize("make_schedule", [constant, cosine, warmup_cosine])
def test_the_ratio_of_groups_is_kept(make_schedule):
    rates = learning_rates(make_schedule, 50)
    torch.testing.assert_close(rates[:, 1], rates[:, 0] / 10)


def test_constant_stays():
    assert (learning_rates(constant, 10)[:, 0] == 1).all()


def test_cosine_falls_from_full_to_the_final_share():
    rates = learning_rates(cosine, 100, final=0.2)[:, 0]
    assert rates[0] == 1
    assert (rates.diff() < 0).all()
    assert rates[-1] == pytest.approx(0.2, abs=0.01)
    assert rates[50] == pytest.approx(0.6)


def test_warmup_cosine_rises_then_falls():
    rates = learning_rates(warmup_cosine, 100, warmup=0.3)[:, 0]
    assert 0 < rates[0] < 0.05
    assert rates.argmax() == 30
    assert rates.max() == 1
    assert (rates[:31].diff() > 0).all()
    assert (rates[30:].diff() < 0).all()
    assert rates[-1] < 0.01


def test_training_may_go_on_beyond_the_planned_steps():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = warmup_cosine(optimizer, 5)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


@pytest.mark.parametrize("arguments", [{"warmup": 1.5}, {"final": -0.1}])
def test_shares_outside_their_range_are_refused(arguments):
    with pytest.raises(FieldError, match=next(iter(arguments))):
        learning_rates(warmup_cosine, 5, **arguments)
