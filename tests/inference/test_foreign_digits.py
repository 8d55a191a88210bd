"""The digits of other sources are what they claim to be."""

import shutil

import numpy as np
import pytest

from tests.inference.foreign_digits import (
    dejavu_fonts,
    development_sources,
    final_sources,
    printed_digits,
    scikit_learn_digits,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with two digits as Semeion writes them, a font, and a file of no interest."""
    seven = ["1"] * 16 + ["0"] * 240 + ["1" if digit == 7 else "0" for digit in range(10)]
    one = (["0"] * 15 + ["1"]) * 16 + ["1" if digit == 1 else "0" for digit in range(10)]
    (tmp_path / "semeion.data").write_text("".join(" ".join(row) + " \n" for row in (seven, one)))
    shutil.copy(dejavu_fonts()[0], tmp_path)
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def check(digits, size):
    assert digits.images.dtype == np.uint8
    assert digits.images.shape == (len(digits.labels), size, size)
    assert digits.labels.dtype == np.int64
    assert digits.images.min() == 0
    assert digits.images.max() == 255


def test_development_sources_are_whole_and_hold_all_digits():
    sources = development_sources()
    check(sources["scikit-learn, first half"], 8)
    check(sources["DejaVu"], 192)
    assert len(sources["DejaVu"].labels) == 120
    assert all(set(digits.labels) == set(range(10)) for digits in sources.values())


def test_the_halves_of_scikit_learns_digits_share_no_image(tmp_path):
    first = development_sources()["scikit-learn, first half"]
    second = final_sources(tmp_path)["scikit-learn, second half"]
    both = scikit_learn_digits(slice(None))
    assert np.array_equal(np.concatenate([first.images, second.images]), both.images)
    assert np.array_equal(np.concatenate([first.labels, second.labels]), both.labels)


def test_final_sources_are_read_from_the_folder(folder):
    sources = final_sources(folder)
    assert list(sources) == ["scikit-learn, second half", "Semeion", "handwriting fonts"]
    semeion = sources["Semeion"]
    check(semeion, 16)
    assert semeion.labels.tolist() == [7, 1]
    assert (semeion.images[0, 0] == 255).all()
    assert (semeion.images[1, :, 15] == 255).all()
    assert (semeion.images == 255).sum() == 32
    assert len(sources["handwriting fonts"].labels) == 10


def test_a_folder_without_files_leaves_only_scikit_learns_digits(tmp_path):
    assert list(final_sources(tmp_path)) == ["scikit-learn, second half"]


def test_printed_digits_are_whole_on_white_paper():
    digits = printed_digits(dejavu_fonts())
    assert len(np.unique(digits.images, axis=0)) > 100  # a few fonts may share a digit
    for image in digits.images:
        rows, columns = np.nonzero(image < 255)
        assert min(rows.min(), columns.min()) > 20
        assert max(rows.max(), columns.max()) < 172
        assert 40 < np.ptp(rows) < 100
