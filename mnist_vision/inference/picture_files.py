"""Find the pictures that a user names."""

import glob
import os
from collections.abc import Iterator, Sequence

from mnist_vision.common.errors import UserError
from mnist_vision.common.paths import shortened
from mnist_vision.inference.picture_reading import FORMAT_NAMES, picture_suffixes

STANDARD_INPUT = "-"


def find_pictures(names: Sequence[str]) -> list[str]:
    """Find picture files, in the order of their names.

    Args:
        names: Files, folders with pictures at any depth, patterns, or "-" for standard input.

    Returns:
        Paths as the user would write them, each once. A file that was named need not be a picture;
        of a folder, only files with the suffix of a picture are taken, and no hidden ones.

    Raises:
        UserError: If a name leads to nothing.
    """
    found = {path for name in names for path in _find(name)}
    return sorted(found)


def _find(name: str) -> Iterator[str]:
    path = os.path.expanduser(name)
    if name == STANDARD_INPUT:
        yield name
    elif os.path.isdir(path):
        yield from _find_in_folder(path)
    elif os.path.lexists(path):  # also if its name holds a bracket
        yield path
    else:
        matches = [each for each in glob.glob(path, recursive=True) if not os.path.isdir(each)]
        if not matches:
            problem = "matches no file" if glob.has_magic(name) else "no such file"
            raise UserError(
                f"input={shortened(name) or repr(name)}: {problem}; give a picture, a folder of "
                "pictures, a pattern, or - for standard input"
            )
        yield from matches


def _find_in_folder(folder: str) -> list[str]:
    suffixes = picture_suffixes()

    def refuse(error: OSError) -> None:
        raise UserError(f"input={error.filename}: cannot be read ({error.strerror})") from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [each for each in folders if not each.startswith(".")]
        found += [
            os.path.join(parent, file)
            for file in files
            if os.path.splitext(file)[1].lower() in suffixes and not file.startswith(".")
        ]
    if not found:
        raise UserError(f"input={shortened(folder)}: holds no picture; give {FORMAT_NAMES} files")
    return found
