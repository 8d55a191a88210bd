"""The base classes of records: checked when they are made and when they are read."""

import json
import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mnist_vision.common.errors import UserError


class Record(BaseModel):
    """A record in a file of its own or inside another."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    @classmethod
    def parse(cls, content: object, name: str) -> Self:
        """Check values that were read, and make a record of them.

        Args:
            content: The content of a file.
            name: Name of the file, for the error.

        Raises:
            UserError: Naming the file, the first wrong field, its value and what is allowed.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{name}: {_first_error(error)}") from error

    @classmethod
    def parse_json(cls, text: bytes, name: str) -> Self:
        """Parse a JSON object, and make a record of it; see `parse`."""
        try:
            content = _printable(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}: is damaged, no JSON") from error
        if not isinstance(content, dict):
            raise UserError(f"{name}: is damaged, no JSON object")
        return cls.parse(content, name)

    @classmethod
    def parse_texts(cls, texts: Mapping[str, str], name: str) -> Self:
        """Make a record of values that are written as texts; see `parse`."""
        try:
            return cls.model_validate_strings(dict(texts))
        except ValidationError as error:
            raise UserError(f"{name}: {_first_error(error)}") from error

    def to_json(self) -> bytes:
        """Write the record as JSON, one field a line."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class FileRecord(Record):
    """A record with a file of its own in the directory of a run, `FILE`."""

    FILE: ClassVar[str]


def _first_error(error: ValidationError) -> str:
    """Say in one line which field is wrong, its value, and what is allowed."""
    first = error.errors()[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "missing":
        return f"{field[1:]} is missing"
    # A value of the wrong type may be long.
    value = reprlib.repr(first["input"])
    return f"{field[1:]}={value}: {message}" if field else f"{value}: {message}"


def _printable(node: Any) -> Any:
    """Replace unprintable characters, such as terminal escapes and lone surrogates, by spaces."""
    if isinstance(node, dict):
        return {_printable(key): _printable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_printable(value) for value in node]
    if isinstance(node, str) and not node.isprintable():
        return "".join(char if char.isprintable() else " " for char in node)
    return node
