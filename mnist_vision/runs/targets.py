"""Check which classes and functions the settings of a checkpoint name.

Hydra calls whatever a `_target_` names, and a checkpoint may come from anywhere. So its settings
may name only the targets of this configuration, and the public optimizers, callbacks, loggers and
profilers of torch and Lightning.
"""

import re
import shlex
from collections.abc import Collection, Iterator
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

from mnist_vision.common.errors import UserError
from mnist_vision.runs.settings import OUTPUT_DIR, quoted

# Public classes of these modules, if they derive from this base class.
_LIBRARIES = {
    "torch.optim": "torch.optim.Optimizer",
    "lightning.pytorch.callbacks": "lightning.pytorch.callbacks.Callback",
    "lightning.pytorch.loggers": "lightning.pytorch.loggers.Logger",
    "lightning.pytorch.profilers": "lightning.pytorch.profilers.Profiler",
}

# Groups whose objects write files, and the keys in them that name a folder. Such a folder must lie
# inside the run directory.
_WRITING_GROUPS = ("callbacks", "logger", "trainer")
_METRIC_KEYS = ("monitor",)  # they hold names such as val/accuracy
_PATH_KEYS = ("dirpath", "save_dir", "default_root_dir", "dir")


def check_targets(settings: Any, conf_dir: Path, typed: Collection[str], where: str) -> None:
    """Refuse settings with foreign targets, or with folders outside the run directory.

    Args:
        settings: Settings of a checkpoint, nested.
        conf_dir: The folder of the configuration.
        typed: Keys on the command line, whose values are trusted.
        where: The source of the settings, for the error.

    Raises:
        UserError: Naming the key and its value.
    """
    known = _configured_targets(conf_dir)
    for key, value in _leaves(settings):
        if "${" in value.replace(OUTPUT_DIR, ""):
            raise UserError(f"{where}: {key}={value} is not a plain value: the file was changed")
        if _is_path_elsewhere(key, value) and key not in typed:
            raise UserError(
                f"{where}: {key}={value} lies outside the run directory; if you trust it, add "
                f"{shlex.quote(f'{key}={quoted(value)}')}"
            )
        is_target = key.rpartition(".")[2] == "_target_"
        if is_target and not (value in known or key in typed or _is_public_class(value)):
            raise UserError(
                f"{where}: {key}={value} is neither a part of this program nor a known optimizer, "
                "callback or logger; if you trust it, add "
                f"{shlex.quote(f'{key}={quoted(value)}')}"
            )


def _is_path_elsewhere(key: str, value: str) -> bool:
    """Test whether a part would write files outside the run directory."""
    group, leaf = key.partition(".")[0], key.rpartition(".")[2]
    is_path = ("/" in value and leaf not in _METRIC_KEYS) or leaf in _PATH_KEYS
    is_inside = OUTPUT_DIR in value and ".." not in value
    return group in _WRITING_GROUPS and is_path and not is_inside


def _configured_targets(conf_dir: Path) -> set[str]:
    texts = (path.read_text() for path in conf_dir.rglob("*.yaml"))
    return {name for text in texts for name in re.findall(r"_target_: (\S+)", text)}


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Iterate over the texts in nested settings, by dotted key."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from _leaves(child, f"{prefix}.{index}")
    elif isinstance(node, str):
        yield prefix, node


def _is_public_class(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module not in _LIBRARIES or attribute.startswith("_"):
        return False
    base_module, _, base = _LIBRARIES[module].rpartition(".")
    found = getattr(import_module(module), attribute, None)
    return isclass(found) and issubclass(found, getattr(import_module(base_module), base))
