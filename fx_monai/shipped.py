"""Where the files that come with the package are: recipes and the bundle, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def package_folder() -> Path:
    """Return the folder of the package's code."""
    return _PACKAGE


def shipped_folder(name: str) -> Path:
    """Return ``configs`` or ``bundle``: inside the installed package, or at the top level of a checkout."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
