import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import pytest
from pydantic import Field

from mnist_vision.common.checks import Count, Positive, check, checked
from mnist_vision.common.errors import FieldError

Pair = Annotated[Sequence[float], Field(min_length=2, max_length=2)]
ByFour = Annotated[int, Field(ge=4, multiple_of=4)]
OneToTen = Annotated[int, Field(ge=1, le=10)]
Small = Annotated[float, Field(gt=0, le=1)]
Widths = Annotated[Sequence[Count], Field(min_length=1, max_length=4)]


@pytest.mark.parametrize("value", [0, 11, 2.0, "3", None, True])
def test_whole_numbers_outside_their_range_are_refused(value):
    with pytest.raises(FieldError, match=rf"^size={value}: must be a whole number from 1 to 10$"):
        check("size", value, OneToTen)


@pytest.mark.parametrize("value", [0, -1.0, 1.5, math.nan, math.inf, "0.5", None, False])
def test_numbers_outside_their_range_are_refused(value):
    with pytest.raises(FieldError, match=r"^lr=.*: must be a number above 0 and at most 1$"):
        check("lr", value, Small)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(1, OneToTen), (10, OneToTen), (10**9, Count), (1, Small), (1e9, Positive), ([8], Widths)],
)
def test_both_ends_are_allowed(value, allowed):
    check("size", value, allowed)


@pytest.mark.parametrize(
    ("value", "allowed", "words"),
    [
        ([], Widths, "a list of 1 to 4 whole numbers of at least 1"),
        ("8", Widths, "a list of 1 to 4 whole numbers of at least 1"),
        (
            ["8"],
            Annotated[Sequence[float], Field(min_length=2, max_length=2)],
            "a list of 2 numbers",
        ),
        (
            5,
            Annotated[int, Field(ge=4, multiple_of=4)],
            "a whole number of at least 4 and divisible by 4",
        ),
        ("no", bool, "true or false"),
        (3, str | None, "text or null"),
        (3, Callable[[int], int] | None, "of type collections.abc.Callable[[int], int] | None"),
        ("c", Literal["a", "b"], "one of a, b"),
    ],
)
def test_what_is_allowed_is_said_in_words(value, allowed, words):
    with pytest.raises(FieldError) as refused:
        check("field", value, allowed)
    assert str(refused.value) == f"field={value}: must be {words}"


class Layer:
    @checked
    def __init__(self, width: Count, *, bias: bool = True, parent: "Layer | None" = None) -> None:
        self.width = width


def test_a_checked_constructor_names_the_first_wrong_argument():
    assert Layer(3, bias=False, parent=Layer(1)).width == 3
    with pytest.raises(FieldError, match=r"^width=0: must be a whole number of at least 1$"):
        Layer(0)
    with pytest.raises(FieldError, match=r"^bias=1: must be true or false$"):
        Layer(3, bias=1)
    with pytest.raises(FieldError, match=r"^parent=3: must be .*Layer"):
        Layer(3, parent=3)
    with pytest.raises(TypeError, match="unexpected"):
        Layer(3, height=2)
