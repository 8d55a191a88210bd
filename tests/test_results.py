import json

import numpy as np
import pytest
import torch

from mnist_vision.evaluation import TestResult
from mnist_vision.files import write_json
from mnist_vision.results import read_results, table, test_lines, write_predictions

test_lines.__test__ = False


def test_results_are_written_and_read(tmp_path):
    write_json(tmp_path / "results.json", {"version": 1})
    assert read_results(tmp_path) == {"version": 1}


def test_what_is_no_json_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "results.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_plain_arrays(tmp_path):
    targets, scores = torch.tensor([3, 4]), torch.eye(10)[[3, 9]]
    write_predictions(tmp_path / "p.npz", TestResult(targets, scores, torch.empty(0), {}, 0.0))
    with np.load(tmp_path / "p.npz", allow_pickle=False) as arrays:
        assert arrays["targets"].tolist() == [3, 4]
        assert arrays["preds"].tolist() == [3, 9]
        assert arrays["scores"].dtype == np.float32
        assert arrays["scores"].shape == (2, 10)


def test_tables_have_two_columns():
    assert table({"a": "1", "b": "2"}) == ["a                  1", "b                  2"]
    lines = test_lines(
        {"accuracy": 0.99, "f1": 0.98, "num_mistakes": 100, "num_images": 10_000, "missed": 7}
    )
    assert lines[-1].endswith("100 of 10,000, 7 of them not found")
    assert json.dumps(lines)
