"""What of a run must not depend on harm; damage to a file."""

import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_vision.runs.record import Results
from mnist_vision.training.checkpoints import history_rows, read_checkpoint

# A file that `write_atomically` has not renamed yet.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
# Names that differ from run to run, and files that a resumed run adds, as documented.
_VARYING = {
    r"(.*tensorboard/events\.out\.tfevents)\..*": r"\1",
    r"(.*csv/version)_\d+/": r"\1/",
    r"(.*/)?results_(epoch_\d+|damaged)(_\d+)?\.json": "",
}


def read_state(path: Path) -> tuple[float, dict[str, str]]:
    """Read the epochs that a checkpoint was trained for, and hashes of what harm must not change.

    Of a best checkpoint, written at a validation or copied from a last one, only weights count.

    Raises:
        UserError: If the file is damaged.
    """
    checkpoint = read_checkpoint(path)
    # Loops count what a process did; the settings say how the run was started.
    parts = {key: value for key, value in checkpoint.items() if key not in ("loops", "run")}
    rows = history_rows(checkpoint)
    num_epochs = rows[-1]["epoch"] if rows else 0
    if path.name == "best.ckpt":
        return num_epochs, {"state_dict": _hash(checkpoint["state_dict"])}
    for key, callback in parts.pop("callbacks").items():
        if key == "History":
            parts["rows"] = [_without_times(row) for row in callback["rows"]]
        elif key.startswith("LastCheckpoint"):
            parts["generators"] = callback["generators"]
        elif not key.startswith("BestCheckpoint"):
            parts[key] = callback
    return num_epochs, {key: _hash(value) for key, value in parts.items()}


def _hash(node: Any) -> str:
    digest = hashlib.sha256()

    def add(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            digest.update(f"{node.dtype} {tuple(node.shape)}".encode())
            digest.update(node.contiguous().numpy().tobytes())
        elif isinstance(node, dict):
            for item in node.items():
                add(item)
        elif isinstance(node, list | tuple):
            digest.update(f"{len(node)}:".encode())
            for child in node:
                add(child)
        else:
            digest.update(f"{node!r};".encode())

    add(node)
    return digest.hexdigest()


def _without_times(row: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key != "seconds"}


def rows_of(results: Results) -> list[dict[str, float]]:
    """The history of a run without times."""
    return [_without_times(row) for row in results.history]


def file_names(folder: Path) -> set[str]:
    """The files below a folder, named alike where names differ from run to run."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    for pattern, alike in _VARYING.items():
        names = {re.sub(f"^{pattern}", alike, name) for name in names}
    return names - {""}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file but the lock, which every process opens."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    stats = {str(path.relative_to(folder)): path.stat() for path in files}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def curves(folder: Path) -> dict[str, Counter[int]]:
    """How often TensorBoard has each step, by curve."""
    events = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: Counter(each.step for each in events.Scalars(tag)) for tag in tags}


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file; says how."""
    content = path.read_bytes()
    at = rng.randrange(len(content))
    flipped = bytes([content[at] ^ 1 << rng.randrange(8)])
    how, damaged = rng.choice(
        [
            (f"cut at byte {at}", content[:at]),
            (f"a bit of byte {at} flipped", content[:at] + flipped + content[at + 1 :]),
            (f"zeros from byte {at}", content[:at] + bytes(len(content) - at)),
            (f"a block lost at byte {at}", content[:at] + content[at + 512 :]),
            ("emptied", b""),
            ("text", json.dumps({"not": "ours"}).encode()),
        ]
    )
    path.write_bytes(damaged)
    return f"{path.name}: {how}"
