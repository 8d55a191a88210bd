import os
from pathlib import Path

import pytest

from mnist_vision.common.paths import find_file, shortened


def test_a_file_is_found_also_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    assert find_file("~/a") == tmp_path / "a"
    assert find_file(tmp_path / "link") == tmp_path / "link"


@pytest.fixture
def odd(tmp_path):
    """Paths that lead to no file, by the reason."""
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    return {
        "No such file or directory": tmp_path / "none",
        "Too many levels of symbolic links": tmp_path / "loop",
        "File name too long": "x" * 5000,
        "Not a regular file": tmp_path / "pipe",
        "Is a directory": tmp_path,
        "Not a directory": tmp_path / "file" / "below",
        "Not a valid path": "a\0b",
    }


def test_the_reason_is_that_of_the_operating_system(odd):
    for reason, path in odd.items():
        with pytest.raises(OSError) as refused:  # noqa: PT011
            find_file(path)
        assert refused.value.strerror == reason
    for path in (Path("/dev/zero"), "\ud800"):
        with pytest.raises(OSError, match="Not a"):
            find_file(path)


def test_a_long_value_keeps_its_ends():
    assert shortened("x" * 200) == "x" * 200
    short = shortened(Path("begin" + "x" * 5000 + "end"))
    assert short.startswith("begin")
    assert "xend (5,008 characters)" in short
    assert len(short) < 200
