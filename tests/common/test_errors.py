import pytest

from mnist_vision.common.errors import FieldError, Stopped, settings_of


def test_stopped_is_no_exception_and_knows_its_exit_code():
    assert not isinstance(Stopped(15), Exception)
    assert Stopped(15).exit_code == 143
    assert str(Stopped(2)) == "stopped by SIGINT"


def test_a_field_is_named_in_full_inside_its_group():
    with (
        pytest.raises(FieldError, match=r"^scheduler\.warmup=2: must be less$"),
        settings_of("scheduler"),
    ):
        raise FieldError("warmup", 2, "must be less")
