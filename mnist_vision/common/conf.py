"""Where the configuration lies."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

# Inside an installed package, beside it in a clone.
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
