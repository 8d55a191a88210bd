import io

import numpy as np
from PIL import Image

from mnist_vision.evaluation.corruptions.suite import SUITES
from mnist_vision.report.page import make_report
from mnist_vision.report.sections import corrupted_digits as module
from mnist_vision.report.sections.corrupted_digits import (
    MAX_SETTINGS,
    SECTION,
    draw_corruptions,
)
from mnist_vision.report.selection import select
from tests.conftest import synthetic_digits
from tests.report.fixtures import compare_runs, write_robustness, write_run


def blocks_of(folder, kind):
    blocks = SECTION.make_blocks(compare_runs(folder))
    return [block for block in blocks if type(block).__name__ == kind]


def text_of(table):
    rows = [[" ".join(filter(None, (cell.text, cell.note))) for cell in row] for row in table.rows]
    return [list(table.columns), *rows]


def test_a_report_without_measured_runs_has_no_such_section(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", targets=np.arange(200) % 10)  # other digits
    assert SECTION.make_blocks(compare_runs(tmp_path)) == []


def test_the_table_has_a_mean_over_seeds_for_each_setting_and_the_hardest_first(tmp_path):
    accuracies = {"fog": 0.6, "shear": 0.9, "inversion": 0.1}
    write_robustness(write_run(tmp_path / "a0", overrides=["a=1"], seed=0), accuracies)
    write_robustness(
        write_run(tmp_path / "a1", overrides=["a=1"], seed=1), accuracies | {"fog": 0.8}
    )
    write_run(tmp_path / "a2", overrides=["a=1"], seed=2)
    write_robustness(
        write_run(tmp_path / "b", overrides=["b=1"], accuracy=0.5), {"fog": 0.5, "shear": 0.5}
    )
    (table,) = blocks_of(tmp_path, "Table")
    assert text_of(table) == [
        ["corruption", "cnn a=1 (2 of 3 seeds)", "cnn b=1"],
        ["none", "0.9900 ± 0.0000", "0.9900"],
        ["mean of 2", "0.8000 ± 0.0707", "0.5000"],
        ["inversion not in the mean", "0.1000 ± 0.0000", "–"],  # noqa: RUF001
        ["fog", "0.7000 ± 0.1414", "0.5000"],
        ["shear", "0.9000 ± 0.0000", "0.5000"],
    ]
    heats = [round(row[1].heat, 4) for row in table.rows]
    assert heats == [0.02, 0.4, 1, 0.6, 0.2]
    files = make_report(select([str(tmp_path)])).files
    assert b'heat" style="--heat: 60%">0.7000' in files["report.html"]
    assert b"| fog | 0.7000" in files["report.md"]
    header, *rows = files["results.csv"].decode().splitlines()
    column = header.split(",").index("corrupted_accuracy")
    assert sorted(row.split(",")[column] for row in rows) == ["", "0.5", "0.75", "0.85"]


def test_versions_of_a_suite_are_not_mixed(tmp_path):
    write_robustness(write_run(tmp_path / "a", overrides=["a=1"]))
    write_robustness(write_run(tmp_path / "b", overrides=["b=1"]), suite_version=99)
    first, second = blocks_of(tmp_path, "Table")
    assert (first.columns[1], second.columns[1]) == ("cnn b=1", "cnn a=1")
    assert blocks_of(tmp_path, "Heading")[0].text == "Suite corruptions, version 99"
    notes = [block.text for block in blocks_of(tmp_path, "Paragraph")]
    assert notes[0] == "1 of 2 settings were measured."


def test_of_many_settings_those_with_the_best_validation_are_shown(tmp_path):
    for number in range(MAX_SETTINGS + 2):
        folder = tmp_path / f"{number}"
        write_robustness(write_run(folder, overrides=[f"a={number}"]))
    (table,) = blocks_of(tmp_path, "Table")
    assert len(table.columns) == MAX_SETTINGS + 1
    note = f"Shown: the {MAX_SETTINGS} of them with the highest validation accuracy."
    assert note in [block.text for block in blocks_of(tmp_path, "Paragraph")]


def test_each_corruption_has_a_picture_of_the_same_digits():
    images, targets = synthetic_digits(40)
    drawn = draw_corruptions(images.squeeze(1).numpy(), targets.numpy(), "corruptions")
    assert list(drawn) == ["none", *(each.name for each in SUITES["corruptions"])]
    clean = np.asarray(Image.open(io.BytesIO(drawn["none"])))
    assert clean.shape == (58, 58)
    assert np.array_equal(clean[:28, :28], images[2, 0].numpy())
    assert np.array_equal(clean[30:, 30:], images[7, 0].numpy())
    bright = np.asarray(Image.open(io.BytesIO(drawn["brightness"])))
    assert bright[:28, :28].mean() > clean[:28, :28].mean() + 50


def test_pictures_come_with_the_mean_accuracy_if_the_digits_are_there(tmp_path, monkeypatch):
    write_robustness(write_run(tmp_path, targets=np.arange(200) % 10))
    assert blocks_of(tmp_path, "Gallery") == []
    assert blocks_of(tmp_path, "Paragraph")[-1].text.startswith("There are no pictures: ")
    images = np.zeros((200, 28, 28), np.uint8)
    monkeypatch.setattr(module, "load_images", lambda test: (images, ""))
    (gallery,) = blocks_of(tmp_path, "Gallery")
    assert gallery.pictures[0][:3] == ("none", "", "0.9900")
    assert ("brightness", "", "0.8000") in [picture[:3] for picture in gallery.pictures]
