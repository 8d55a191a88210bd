"""Find the configuration folder."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

# Inside an installed package; beside the package in a clone.
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())


def is_group(key: str) -> bool:
    """Check whether a key of an override is a group of this program, not a setting."""
    names = key.split("/")
    is_name = all(name.isidentifier() for name in names) and names[0] != "hydra"
    return is_name and (CONF_DIR / key).is_dir()
