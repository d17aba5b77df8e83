"""Files of tensors: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch

from fx_monai.errors import CheckpointError

# what PyTorch's reader raises on files that are cut, damaged or something else
_BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)


def save_atomically(state: object, path: Path) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_weights_only(path: Path) -> Any:
    """Read a file of tensors and plain values; code inside a pickle is refused.

    Raises:
        CheckpointError: missing, truncated, or holding anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(
            where=str(path),
            problem="there is no such file",
            expected="weights or a checkpoint of fx_monai",
            remedy="Train with `fx-monai train demo`, or give the path of existing weights",
        )
    try:
        if zipfile.is_zipfile(path):
            # PyTorch reads tensors without looking at their checksums
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(damaged)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise CheckpointError(
            where=str(path),
            problem=f"the file can't be read as weights ({type(error).__name__})",
            expected="a whole file of tensors and plain values, written by fx_monai",
            remedy="Take the previous checkpoint, or convert foreign weights first",
        ) from error


@contextmanager
def write_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
    os.replace(temporary, path)
