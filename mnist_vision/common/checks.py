"""Check arguments and settings against annotated types; say what is allowed in words.

A constructor states the ranges of its arguments as types, and `@checked` holds callers to them:

    @checked
    def __init__(self, dropout: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None: ...
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from mnist_vision.common.errors import FieldError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Count = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
# From 0 to 1.
Share = Annotated[float, Field(ge=0, le=1)]
# A rate of dropout or label smoothing. At 1 nothing would be left to learn from.
Dropout = Annotated[float, Field(ge=0, le=0.95)]

_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def check(field: str, value: object, allowed: Any) -> None:
    """Check a value against a type.

    Args:
        field: Name of the setting, for the error.
        value: Its value. It is not converted: "3" and true are no whole numbers.
        allowed: A type, annotated with pydantic's `Field`.

    Raises:
        FieldError: Naming the field, the value and what is allowed.
    """
    try:
        _adapter(allowed).validate_python(value)
    except ValidationError as error:
        raise FieldError(field, value, f"must be {_allowed_by(allowed)}") from error


def checked(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Check the arguments of a function against its annotations before each call.

    Raises:
        FieldError: Of the decorated function, for the first argument that its type does not allow.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        types = get_type_hints(function, include_extras=True)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in types:
                check(name, value, types[name])
        return function(*args, **kwargs)

    return call


def _allowed_by(allowed: Any) -> str:
    try:
        return _describe(_adapter(allowed).json_schema())
    except PydanticInvalidForJsonSchema:  # a function or a class
        return f"of type {allowed}"


def _describe(schema: dict[str, Any]) -> str:
    """Describe a JSON schema in words, such as "a whole number from 1 to 4"."""
    if "anyOf" in schema:
        return " or ".join(map(_describe, schema["anyOf"]))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kind = schema.get("type")
    if kind == "array":
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        elements = _describe(schema["items"]).removeprefix("a ")
        if high is None:
            return f"a list of {elements}"
        count = f"{low}" if low == high else f"{low} to {high}"
        return f"a list of {count} {elements.replace('number', 'numbers', 1)}"
    if kind in ("integer", "number"):
        name = "a whole number" if kind == "integer" else "a number"
        return " ".join([name, *_describe_bounds(schema, kind)])
    if "examples" in schema:
        return f"text such as {schema['examples'][0]}"
    return {"boolean": "true or false", "string": "text", "null": "null"}.get(str(kind), str(kind))


def _describe_bounds(schema: dict[str, Any], kind: str) -> list[str]:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    bounds = [f"above {above:g}"] if above is not None else []
    if kind == "integer" and low is not None and high is not None:
        bounds, low, high = [f"from {low} to {high}"], None, None
    bounds += [f"of at least {low:g}"] if low is not None else []
    bounds += [f"at most {high:g}"] if high is not None else []
    bounds += [f"divisible by {schema['multipleOf']}"] if "multipleOf" in schema else []
    return [" and ".join(bounds)] if bounds else []


@functools.cache
def _adapter(allowed: Any) -> TypeAdapter[Any]:
    return TypeAdapter(allowed, config=_CONFIG)
