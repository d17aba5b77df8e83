"""Files of tensors: written whole or not at all, read without running code."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fx_monai.errors import CheckpointError

# what PyTorch's reader raises on files that are cut, damaged or something else
_BROKEN = (
    SafetensorError,
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


def save_atomically(state: object, path: Path, *, previous: int = 0) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename.

    Args:
        state: tensors and plain values.
        path: the file.
        previous: earlier versions to keep, see :func:`previous_file`.

    Raises:
        CheckpointError: it can't be written, for instance on a full disk; what stood there is still there.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if previous and path.is_file():
            _keep(path, previous)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = _system_error(error)
        if cause is None:
            raise
        raise CheckpointError(
            where=str(path),
            problem=f"the file can't be written ({cause.strerror})",
            expected="a folder with write permission and space for one more file of this kind",
            remedy="Make room; earlier files are still whole, and a training goes on from its last checkpoint",
        ) from error
    _sync_folder(path.parent)


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """Yield a place for files that appear in a folder together, the JSON last, when the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        place = Path(temporary)
        yield place
        for path in sorted(place.iterdir(), key=lambda p: p.suffix == ".json"):
            os.replace(path, folder / path.name)


def file_word(text: str) -> str:
    """Return a text as part of a file's name: whatever is no letter or digit becomes a hyphen."""
    return "".join(character if character.isalnum() else "-" for character in text)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_file(path: Path) -> str:
    """Return a file's name with its hash: folders tell about a machine and nothing about the file."""
    return f"{path.name} (SHA-256 {file_sha256(path)})"


def _system_error(error: BaseException | None) -> OSError | None:
    """Return what the system said, also where PyTorch's writer has failed on top of it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def previous_file(path: Path, number: int) -> Path:
    """Return where an earlier version of a file is kept; number 1 is the last before the present one."""
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


def _keep(path: Path, previous: int) -> None:
    for number in range(previous, 1, -1):
        if previous_file(path, number - 1).is_file():
            os.replace(previous_file(path, number - 1), previous_file(path, number))
    # a second name for the same content, so that there is a whole file under the first name at every moment
    link = path.with_name(path.name + ".link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        # this file system has no second names
        shutil.copyfile(path, link)
    os.replace(link, previous_file(path, 1))


def _sync_folder(folder: Path) -> None:
    """Make renames last through a power cut, where folders can be synchronised."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def load_weights_only(path: Path, *, allowed: Sequence[Any] = ()) -> Any:
    """Read a file of tensors and plain values (``.safetensors``, or PyTorch's own format); code is refused.

    Args:
        path: the file.
        allowed: further types that may stand in it, see :func:`torch.serialization.safe_globals`.

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
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            # PyTorch reads tensors without looking at their checksums
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(damaged)
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        problem = f"it holds '{found[1]}', which could run code" if found else type(error).__name__
        raise CheckpointError(
            where=str(path),
            problem=f"the file can't be read as weights ({problem})",
            expected="a whole file of tensors and plain values",
            remedy="Take the previous checkpoint; have its authors save foreign weights as a state_dict",
        ) from error


@contextmanager
def write_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
    os.replace(temporary, path)
