"""Make the objects that a configuration describes."""

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.errors import UserError
from mnist_vision.common.suggestions import similar


def make(config: DictConfig, key: str, **hydra_options: Any) -> Any:
    """Make the object, or the dict of objects, that a part of the configuration describes.

    Args:
        config: The configuration.
        key: The part of it; what is missing makes an empty dict.
        hydra_options: Options of Hydra, such as `_partial_`.

    Raises:
        UserError: If a `_target_` does not take a key.
        InstantiationException: If an object cannot be made.
    """
    part = OmegaConf.select(config, key)
    if part is None:
        return {}
    check_arguments(OmegaConf.to_container(part, resolve=True), key)
    return instantiate(part, _convert_="all", **hydra_options)


def check_arguments(node: Any, name: str) -> None:
    """Check that each `_target_` takes the keys beside it.

    Args:
        node: Settings as nested plain values.
        name: Their key in the configuration, for the error.

    Raises:
        UserError: Naming the first unknown key, and those that are known.
    """
    children = node if isinstance(node, Mapping) else {}
    if "_target_" in children:
        _check_target(node, name)
    elif isinstance(node, list):
        children = dict(enumerate(node))
    for key, child in children.items():
        check_arguments(child, f"{name}.{key}")


def _check_target(node: Mapping[str, Any], name: str) -> None:
    try:
        signature = inspect.signature(get_object(node["_target_"]))
    except (ImportError, ValueError):  # Hydra reports the one; the other is not written in Python
        return
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    unknown = [key for key in node if not key.startswith("_") and key not in signature.parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        known = [key for key in signature.parameters if key != "self"]
        hint = similar(unknown[0], known) or f"; {node['_target_']} takes {', '.join(known)}"
        raise UserError(f"unknown key {name}.{unknown[0]}{hint}")
