"""What the names of pictures lead to."""

import os

import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.inference.picture_files import find_pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with pictures and other files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.png", "a.JPG", "notes.txt", "scans/2.tiff", "scans/1.webp", "scans/deep/er/3.gif",
        "scans/.hidden.png", ".cache/thumbnail.png", "empty/notes.txt", "a[1].png", "a b=c,d.png",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def refusal(*names):
    with pytest.raises(UserError) as caught:
        find_pictures(names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_taken_whatever_its_suffix(folder):
    assert find_pictures(["b.png"]) == ["b.png"]
    assert find_pictures(["notes.txt"]) == ["notes.txt"]
    assert find_pictures([str(folder / "b.png")]) == [str(folder / "b.png")]


def test_of_a_folder_pictures_at_any_depth_are_taken_and_no_hidden_ones(folder):
    assert find_pictures(["scans"]) == ["scans/1.webp", "scans/2.tiff", "scans/deep/er/3.gif"]
    assert find_pictures(["."]) == [
        "./a b=c,d.png",
        "./a.JPG",
        "./a[1].png",
        "./b.png",
        "./scans/1.webp",
        "./scans/2.tiff",
        "./scans/deep/er/3.gif",
    ]


def test_a_pattern_takes_files_and_no_folders(folder):
    assert find_pictures(["*.png"]) == ["a b=c,d.png", "a[1].png", "b.png"]
    assert find_pictures(["scans/*"]) == ["scans/1.webp", "scans/2.tiff"]
    assert find_pictures(["**/*.gif"]) == ["scans/deep/er/3.gif"]


def test_a_name_with_brackets_is_no_pattern_if_the_file_is_there(folder):
    assert find_pictures(["a[1].png"]) == ["a[1].png"]


def test_several_names_give_each_file_once_in_the_order_of_names(folder):
    names = ["scans/2.tiff", "b.png", "scans", "-", "*.png", "b.png"]
    assert find_pictures(names) == [
        "-",
        "a b=c,d.png",
        "a[1].png",
        "b.png",
        "scans/1.webp",
        "scans/2.tiff",
        "scans/deep/er/3.gif",
    ]


def test_the_home_folder_may_be_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert find_pictures(["~/b.png", "~/scans/*.webp"]) == [
        str(folder / "b.png"),
        str(folder / "scans/1.webp"),
    ]


def test_a_link_that_leads_nowhere_is_found_and_can_be_reported(folder):
    (folder / "link.png").symlink_to("nothing.png")
    assert find_pictures(["link.png"]) == ["link.png"]


def test_a_name_that_is_no_text_is_found(folder):
    name = os.fsdecode(b"\xff.png")
    (folder / name).touch()
    assert name in find_pictures(["*.png"])


def test_names_that_lead_to_nothing_are_refused(folder):
    remedy = "give a picture, a folder of pictures, a pattern, or - for standard input"
    assert refusal("c.png") == f"input=c.png: no such file; {remedy}"
    assert refusal("b.png", "*.bmp") == f"input=*.bmp: matches no file; {remedy}"
    assert refusal("scan*") == f"input=scan*: matches no file; {remedy}"  # only a folder
    assert refusal("") == f"input='': no such file; {remedy}"
    assert "no such file" in refusal("\0")
    assert "(5,000 characters): no such file" in refusal("x" * 5000)


def test_a_folder_without_pictures_is_refused(folder):
    assert refusal("empty") == (
        "input=empty: holds no picture; give PNG, JPEG, WebP, BMP, TIFF or GIF files"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all folders")
def test_a_folder_without_permission_is_refused(folder):
    (folder / "scans" / "deep").chmod(0)
    assert refusal("scans") == "input=scans/deep: cannot be read (Permission denied)"
