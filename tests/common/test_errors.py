import math

import pytest

from mnist_vision.common.errors import FieldError, Stopped, check_real, check_whole


@pytest.mark.parametrize("value", [0, 11, 2.0, "3", None, True])
def test_check_whole_refuses(value):
    with pytest.raises(FieldError, match=r"size=.*: must be a whole number from 1 to 10"):
        check_whole("size", value, 1, 10)


def test_check_whole_admits_both_ends():
    check_whole("size", 1, 1, 10)
    check_whole("size", 10, 1, 10)
    check_whole("size", 10**9, 1)


@pytest.mark.parametrize("value", [0, -1.0, 1.5, math.nan, math.inf, "0.5", None, False])
def test_check_real_refuses(value):
    with pytest.raises(FieldError, match=r"lr=.*: must be a number above 0 and at most 1"):
        check_real("lr", value, 0, 1, open_low=True)


def test_check_real_admits_integers_and_ends():
    check_real("lr", 0, 0, 1)
    check_real("lr", 1, 0, 1, open_low=True)
    check_real("lr", 1e9, 0)


def test_stopped_is_no_exception_and_knows_its_exit_code():
    assert not isinstance(Stopped(15), Exception)
    assert Stopped(15).exit_code == 143
    assert str(Stopped(2)) == "stopped by SIGINT"
