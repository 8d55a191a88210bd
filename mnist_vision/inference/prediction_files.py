"""Write predictions as CSV, as JSON lines, and as the rows of a table."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, BinaryIO

from mnist_vision.common.errors import printable
from mnist_vision.data.constants import NUM_CLASSES
from mnist_vision.inference.predictor import Prediction

NOTHING_FOUND = "no digit found"
COLUMNS = ["file", "digit", "confidence", *(f"p{digit}" for digit in range(NUM_CLASSES))]


class PredictionWriter:
    """Write the digits of picture files, a row or a line for each digit.

    Args:
        csv_file: Gets the columns `COLUMNS`; where no digit was found, all but the first are empty.
        json_file: Gets an object a line: `file`, `digit`, `confidence`, `probabilities` and `box`;
            where no digit was found, `digit` is null; for a file that could not be read, `error`.
    """

    def __init__(self, csv_file: BinaryIO, json_file: BinaryIO) -> None:
        # The name of a file may hold bytes that are no text; they are written as they are.
        self._csv = io.TextIOWrapper(csv_file, "utf-8", "surrogateescape", newline="")
        self._json = io.TextIOWrapper(json_file, "utf-8")
        self._csv.write(",".join(COLUMNS) + "\n")
        # Names are quoted, because Python 3.11 would not quote one for its carriage return.
        self._rows = csv.writer(self._csv, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)

    def write(self, file: str, predictions: Sequence[Prediction]) -> None:
        """Write the digits of a file, in their order."""
        for found in predictions:
            probabilities = [round(float(each), 6) for each in found.probabilities]
            confidence = round(found.confidence, 6)
            self._rows.writerow([file, found.digit, confidence, *probabilities])
            box = [round(side, 2) for side in found.box]
            self._write_line(
                file=file,
                digit=found.digit,
                confidence=confidence,
                probabilities=probabilities,
                box=box,
            )
        if not predictions:
            self._rows.writerow([file, *[None] * (len(COLUMNS) - 1)])
            self._write_line(file=file, digit=None)

    def write_problem(self, file: str, problem: str) -> None:
        """Write why a file could not be read; the CSV file has predictions alone."""
        self._write_line(file=file, error=problem)

    def close(self) -> None:
        """Hand everything to the files, which stay open."""
        self._csv.detach()
        self._json.detach()

    def _write_line(self, **content: Any) -> None:
        self._json.write(json.dumps(content) + "\n")


def table_rows(file: str, predictions: Sequence[Prediction]) -> list[tuple[str, str, str]]:
    """Make rows for people: file, digit, confidence."""
    name = printable(file)
    rows = [(name, str(found.digit), f"{found.confidence:.4f}") for found in predictions]
    return rows or [(name, NOTHING_FOUND, "")]
