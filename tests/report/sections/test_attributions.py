import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mnist_vision.report.sections.attributions import MAX_SETTINGS, SECTION
from mnist_vision.runs.directory import RunDirectory
from tests.report.fixtures import compare_runs, write_attributions, write_run

TARGETS = np.arange(100) % 10
MISTAKES = [7, 41, 90]


def write_explained(folder, **settings):
    """Writes a run with three mistakes, each of which is explained."""
    predictions = TARGETS.copy()
    predictions[MISTAKES] = (TARGETS[MISTAKES] + 1) % 10
    write_run(folder, targets=TARGETS, predictions=predictions, **settings)
    return write_attributions(folder, MISTAKES)


def blocks_of(folder):
    return SECTION.make_blocks(compare_runs(folder))


def test_each_mistake_is_shown_with_its_maps(tmp_path):
    write_explained(tmp_path / "a")
    heading, gallery = blocks_of(tmp_path)
    assert heading.text == "cnn"
    assert [picture[:3] for picture in gallery.pictures] == [
        ("7", "as 8", "no. 7"),
        ("1", "as 2", "no. 41"),
        ("0", "as 1", "no. 90"),
    ]
    assert Image.open(io.BytesIO(gallery.pictures[0].png)).size == (88, 28)


def test_runs_without_the_file_have_no_section(tmp_path):
    write_run(tmp_path / "a", targets=TARGETS)
    write_run(tmp_path / "b", targets=TARGETS[::-1], overrides=["x=1"])
    assert blocks_of(tmp_path) == []


def spoil(kind, folder, attributions):
    if kind == "damaged":
        (folder / "attributions.npz").write_bytes(b"PK no archive")
    else:
        other = {
            "another test": {"predictions": (attributions.predictions + 1) % 10},
            "a digit too many": {"indices": attributions.indices + 99},
        }
        RunDirectory(folder).write_attributions(replace(attributions, **other[kind]))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("damaged", "is damaged"),
        ("another test", "does not belong to test_predictions.npz"),
        ("a digit too many", "does not belong to test_predictions.npz"),
    ],
)
def test_a_file_that_cannot_be_used_is_skipped_with_the_reason(tmp_path, kind, reason):
    write_explained(tmp_path / "a", overrides=["x=1"])
    spoil(kind, tmp_path / "b", write_explained(tmp_path / "b", overrides=["x=2"]))
    blocks = blocks_of(tmp_path)
    (note,) = (block.text for block in blocks if type(block).__name__ == "Paragraph")
    assert note.startswith(f"cnn x=2: attributions.npz: {reason}")
    assert [block.text for block in blocks if type(block).__name__ == "Heading"] == ["cnn x=1"]


def test_of_several_seeds_the_best_of_validation_is_shown(tmp_path):
    best = {"epoch": 1, "step": 1, "val_accuracy": 0.9999}
    write_run(tmp_path / "a", seed=0, targets=TARGETS)
    write_explained(tmp_path / "b", seed=1, version=3, best=best)
    _, gallery = blocks_of(tmp_path)
    assert len(gallery.pictures) == 3
    write_explained(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, version=3, best=best | {"val_accuracy": 1.0}, targets=TARGETS)
    (tmp_path / "b" / "attributions.npz").unlink()
    assert blocks_of(tmp_path) == []


def test_the_number_of_settings_is_limited(tmp_path):
    for number in range(MAX_SETTINGS + 1):
        write_explained(tmp_path / str(number), overrides=[f"x={number}"])
    note, *blocks = blocks_of(tmp_path)
    assert note.text.startswith(f"Shown: the {MAX_SETTINGS} of {MAX_SETTINGS + 1} settings")
    assert len(blocks) == 2 * MAX_SETTINGS
