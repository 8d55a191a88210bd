"""Imports run one way; the commands answer without torch."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "mnist_vision"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = {script.removeprefix("mnist-vision-") for script in PROJECT["scripts"]}
# Each room may import those above it, and no other room of its own line.
LAYERS = [
    {"common"},
    {"data"},
    {"models", "runs"},
    {"evaluation"},
    {"training"},
    {"inference"},
    {"sweeps", "report", "benchmarks"},
    {"cli"},
    COMMANDS,
]
RANKS = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
MAX_LINES = 350


def rooms_imported_by(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    parts = [name.split(".") for name in names if name.startswith("mnist_vision")]
    assert all(len(each) > 1 for each in parts), f"{path}: name a module of mnist_vision"
    return {each[1] for each in parts}


def test_only_the_commands_stand_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == COMMANDS | {"__init__"}


def test_every_room_has_a_layer():
    assert {path.relative_to(PACKAGE).parts[0] for path in MODULES} == RANKS.keys() - COMMANDS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_from_layers_below(path):
    room = path.relative_to(PACKAGE).parts[0]
    for other in rooms_imported_by(path) - {room}:
        assert RANKS[other] < RANKS[room], f"{path} imports {other}"


def test_a_name_of_a_module_appears_once():
    names = [path.stem for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_is_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_answers_without_importing_torch(name):
    script = (
        f"import sys; sys.argv = ['x', '--help']\n"
        f"from mnist_vision.{name} import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'lightning', 'numpy', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
