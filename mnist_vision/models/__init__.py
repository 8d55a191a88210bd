"""The architectures: `mnist_vision/models/NAME.py` holds the class of the architecture NAME."""

from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pkgutil import iter_modules

from mnist_vision.common.errors import UserError
from mnist_vision.models.classifier import DigitClassifier


def find_architecture(name: str) -> type[DigitClassifier]:
    """Find the class of an architecture by its name.

    A checkpoint names its architecture, not its class: a file must not choose what code runs.

    Raises:
        UserError: If there is no such architecture; lists the known ones.
    """
    modules = [module.name for module in iter_modules(__path__)]
    classes = _architectures_in(name) if name in modules else []
    if not classes:
        known = ", ".join(module for module in modules if _architectures_in(module))
        raise UserError(f"unknown architecture {name!r}: this program has {known}")
    return classes[0]


def _architectures_in(module_name: str) -> list[type[DigitClassifier]]:
    module = import_module(f"{__name__}.{module_name}")
    return [
        member
        for _, member in getmembers(module, isclass)
        if issubclass(member, DigitClassifier)
        and member is not DigitClassifier
        and not isabstract(member)
        and member.__module__ == module.__name__
    ]
