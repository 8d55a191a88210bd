"""Against values computed by hand or published."""

import numpy as np
import pytest

from mnist_vision.evaluation.statistics import holm, mcnemar, mean_interval, proportion_interval


def test_the_interval_of_a_mean_is_students():
    """t(0.975) is 4.303 with 2 degrees of freedom, 12.706 with 1."""
    low, high = mean_interval([0.990, 0.991, 0.995])
    reach = 4.302653 * (7e-6) ** 0.5 / 3**0.5
    assert (low, high) == pytest.approx((0.992 - reach, 0.992 + reach))
    low, high = mean_interval([0.5, 0.52])
    assert (low, high) == pytest.approx((0.51 - 12.7062 * 0.01, 0.51 + 12.7062 * 0.01), abs=1e-5)


def test_the_interval_of_a_mean_ends_where_shares_do():
    assert mean_interval([0.98, 1.0]).high == 1
    assert mean_interval([0.0, 0.02]).low == 0


def test_the_interval_of_a_proportion_is_wilsons():
    """Wilson's formula for 9 of 10: (p + z²/2n ± z sqrt(pq/n + z²/4n²)) / (1 + z²/n)."""
    z, n, p = 1.959964, 10, 0.9
    centre, reach = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    expected = ((centre - reach) / (1 + z**2 / n), (centre + reach) / (1 + z**2 / n))
    assert proportion_interval(9, 10) == pytest.approx(expected, abs=1e-6)


def test_mcnemar_counts_only_where_two_differ():
    """1 against 5: 2 (C(6,0) + C(6,1)) / 2^6."""
    first = np.array([True] * 100 + [True] + [False] * 5 + [False] * 3)
    second = np.array([True] * 100 + [False] + [True] * 5 + [False] * 3)
    assert mcnemar(first, second) == pytest.approx((1, 5, 14 / 64))
    assert mcnemar(second, first) == pytest.approx((5, 1, 14 / 64))


def test_mcnemar_of_the_same_predictions():
    assert mcnemar(np.array([True, False]), np.array([True, False])) == (0, 0, 1.0)


def test_holm_multiplies_by_what_is_left_and_never_falls():
    """Worked by hand: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
