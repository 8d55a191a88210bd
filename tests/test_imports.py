"""Imports run one way; the commands answer without torch."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Each module, and the modules of this package that it may import.
EDGES = {
    "__init__": set(),
    "errors": set(),
    "files": {"errors"},
    "quiet": set(),
    "accelerators": {"errors"},
    "limits": {"errors"},
    "explain": {"errors", "runs", "usage"},
    "usage": set(),
    "schedules": {"errors"},
    "beginner": set(),
    "data": {"errors", "files"},
    "torch_files": set(),
    "runs": {"data", "errors", "files"},
    "detection": {"data"},
    "transfer": {"errors", "torch_files"},
    "models": {"errors", "data", "detection", "transfer"},
    "checkpoints": {"errors", "files", "models", "runs", "torch_files"},
    "evaluation": {"data", "memory", "models", "runs"},
    "results": {"runs"},
    "tensorboard": {"data", "evaluation", "models"},
    "callbacks": {"checkpoints", "errors", "files", "runs", "tensorboard"},
    "resume": {"checkpoints", "errors", "files", "models", "runs"},
    "memory": set(),
    "sweeps": {"errors", "files", "memory", "runs"},
    "command": {"errors", "explain", "files", "limits", "resume", "runs", "sweeps", "usage"},
    "training": {
        "accelerators",
        "callbacks",
        "checkpoints",
        "data",
        "errors",
        "evaluation",
        "explain",
        "files",
        "memory",
        "models",
        "quiet",
        "results",
        "runs",
        "tensorboard",
    },
    "benchmarking": {
        "beginner",
        "data",
        "detection",
        "errors",
        "files",
        "memory",
        "models",
        "quiet",
        "runs",
        "training",
        "transfer",
    },
    "comparison": {"data", "errors", "files", "runs"},
    # Entry points: nothing imports them.
    "train": {"command", "training"},
    "evaluate": {
        "accelerators",
        "checkpoints",
        "command",
        "evaluation",
        "files",
        "quiet",
        "results",
        "runs",
    },
    "benchmark": {"command", "benchmarking"},
    "compare": {"comparison", "errors", "files", "quiet"},
}
PACKAGE = ROOT / "mnist_vision"


def room(module_name):
    """`mnist_vision.data.mnist` lies in the room `data`, `mnist_vision.train` in `train`."""
    parts = module_name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_a_module_imports_only_what_it_may(path):
    relative = path.relative_to(PACKAGE).with_suffix("")
    own_room = relative.parts[0]
    for name in imports_of(path):
        if name.split(".")[0] == "mnist_vision":
            assert room(name) == own_room or room(name) in EDGES[own_room], f"{path}: {name}"


def test_the_allowed_edges_have_no_cycle():
    remaining = {name: set(edges) for name, edges in EDGES.items()}
    while remaining:
        free = [name for name, edges in remaining.items() if not edges & remaining.keys()]
        assert free, f"a cycle among {sorted(remaining)}"
        for name in free:
            del remaining[name]


@pytest.mark.parametrize("name", ["train", "evaluate", "benchmark", "compare"])
def test_a_command_answers_without_importing_torch(name):
    script = (
        f"import sys; sys.argv = ['x', '--help']\n"
        f"from mnist_vision.{name} import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'lightning', 'numpy', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
