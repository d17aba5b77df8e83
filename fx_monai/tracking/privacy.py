"""What doesn't leave the machine: where files lie, which tells user names and sometimes patients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

# rooted paths of POSIX and Windows, home folders, network shares, file: addresses
_ROOTED = re.compile(r"^(/|~|\\\\|[A-Za-z]:[\\/]|file:)")
_FILE = re.compile(r"\.(pt|pth|ckpt|bin|safetensors|ya?ml|json|csv|tsv|txt|parquet|db)$")
_HIDDEN = "<folder>"


def without_folders(value: Any) -> Any:
    """Return a value with every rooted path cut to the name of the file, ``<folder>/model.pt``; relative paths stay.

    Args:
        value: nested mappings and lists of plain values; keys are treated like values.
    """
    if isinstance(value, Mapping):
        return {without_folders(key): without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if not isinstance(value, str) or not _ROOTED.match(value):
        return value
    parts = [part for part in re.split(r"[/\\]", value) if part]
    # the last part of a folder may be the name of a user
    return f"{_HIDDEN}/{parts[-1]}" if len(parts) > 1 and _FILE.search(parts[-1]) else _HIDDEN


def without_password(address: str) -> str:
    """Return the address of a store without user and password."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
