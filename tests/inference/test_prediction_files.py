"""Predictions as files, which other programs parse."""

import csv
import io
import json
import os

import numpy as np
import pytest

from mnist_vision.inference.prediction_files import COLUMNS, PredictionWriter, table_rows
from mnist_vision.inference.predictor import Prediction

NAMES = [
    "plain.png",
    "a,b.png",
    'a "quoted" name.png',
    "two\nlines.png",
    "carriage\rreturn.png",
    "both\r\n.png",
    " space .png",
    "accents é ü 数.png",
    os.fsdecode(b"no text \xff.png"),
    "=1+1.png",
    "",
]


def prediction(digit=7):
    probabilities = np.full(10, 0.01, np.float32)
    probabilities[digit] = 0.91
    shown = np.zeros((28, 28), np.uint8)
    return Prediction(digit, 0.9123456789, probabilities, (1.234, 2.0, 30.0, 40.567), shown)


def written(*calls):
    """What a writer writes: the rows of the CSV file, and the objects of the JSON lines."""
    csv_file, json_file = io.BytesIO(), io.BytesIO()
    writer = PredictionWriter(csv_file, json_file)
    for call in calls:
        call(writer)
    writer.close()
    text = csv_file.getvalue().decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    lines = json_file.getvalue().decode("ascii").splitlines()
    return rows, [json.loads(line) for line in lines]


def test_a_digit_is_a_row_and_a_line():
    ((row,), (line,)) = written(lambda writer: writer.write("some.png", [prediction()]))
    assert list(row) == COLUMNS == ["file", "digit", "confidence", *(f"p{i}" for i in range(10))]
    assert (row["file"], row["digit"], row["confidence"]) == ("some.png", "7", "0.912346")
    assert [float(row[f"p{digit}"]) for digit in range(10)] == line["probabilities"]
    assert line == {
        "file": "some.png",
        "digit": 7,
        "confidence": 0.912346,
        "probabilities": [0.91 if digit == 7 else 0.01 for digit in range(10)],
        "box": [1.23, 2.0, 30.0, 40.57],
    }


def test_digits_of_a_file_keep_their_order():
    found = [prediction(digit) for digit in (3, 1, 4)]
    rows, lines = written(lambda writer: writer.write("some.png", found))
    assert [row["digit"] for row in rows] == ["3", "1", "4"]
    assert [line["digit"] for line in lines] == [3, 1, 4]


def test_a_file_without_a_digit_has_a_row_that_is_empty_and_a_line_with_null():
    ((row,), (line,)) = written(lambda writer: writer.write("some.png", []))
    assert row == dict.fromkeys(COLUMNS, "") | {"file": "some.png"}
    assert line == {"file": "some.png", "digit": None}


def test_a_file_that_could_not_be_read_has_a_line_with_the_error_and_no_row():
    rows, lines = written(lambda writer: writer.write_problem("some.png", "some.png: is empty"))
    assert rows == []
    assert lines == [{"file": "some.png", "error": "some.png: is empty"}]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_are_parsed_back(name):
    rows, lines = written(
        lambda writer: writer.write(name, [prediction()]),
        lambda writer: writer.write(name, []),
        lambda writer: writer.write_problem(name, f"{name}: is empty"),
    )
    assert [row["file"] for row in rows] == [name] * 2
    assert [line["file"] for line in lines] == [name] * 3


def test_names_that_are_no_text_keep_their_bytes():
    csv_file = io.BytesIO()
    writer = PredictionWriter(csv_file, io.BytesIO())
    writer.write(os.fsdecode(b"\xff.png"), [])
    writer.close()
    assert csv_file.getvalue().splitlines()[1].startswith(b'"\xff.png",')


def test_the_files_stay_open():
    csv_file, json_file = io.BytesIO(), io.BytesIO()
    PredictionWriter(csv_file, json_file).close()
    assert not csv_file.closed
    assert not json_file.closed


def test_rows_for_people_hold_no_control_characters():
    assert table_rows("a\x1b[31m\n.png", [prediction(), prediction(2)]) == [
        ("a [31m .png", "7", "0.9123"),
        ("a [31m .png", "2", "0.9123"),
    ]
    assert table_rows("some.png", []) == [("some.png", "no digit found", "")]
