"""Finding the files of a native tree: annotation files by pattern, images by the name an annotation gives."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.pixels import is_dicom, is_image_name, size_or_unknown
from fx_monai.errors import DataError


def find_file(root: Path, names: Sequence[str], *, what: str) -> Path:
    """Return the first of several relative paths (glob patterns allowed) that exists below the root.

    Raises:
        DataError: none is there.
    """
    found = find_optional(root, names)
    if found is None:
        raise DataError(
            where=str(root),
            problem=f"there is no {what}",
            expected=" or ".join(names),
            remedy="Give the folder as it was downloaded and unpacked",
        )
    return found


def find_optional(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of several relative paths (glob patterns allowed) that exists below the root, or None."""
    for name in names:
        for path in sorted(root.glob(name)):
            if path.is_file():
                return path
    return None


def find_only(root: Path, pattern: str, *, what: str, option: str) -> Path:
    """Return the one file that a pattern matches; ``option`` is the reader option that chooses among several.

    Raises:
        DataError: none, or more than one.
    """
    found = sorted(path for path in root.glob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(path.relative_to(root)) for path in found[:5])
    raise DataError(
        where=str(root),
        problem=f"there are {len(found)} files that could be the {what} ({names})" if found else f"there is no {what}",
        expected=f"one file {pattern}",
        remedy=f"Name the file with the option {option}=FILE",
    )


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            where=path.name,
            problem=f"not JSON ({error})",
            expected="a JSON file in UTF-8",
            remedy="Download the file again or correct it",
        ) from error


def files_by_name(root: Path, folders: Sequence[str], suffixes: Iterable[str]) -> dict[str, Path]:
    """Return file name -> path for the image files in the folders (glob patterns); the first folder wins.

    When none of the folders exists, every folder below the root is searched.
    """
    wanted = {suffix.lower() for suffix in suffixes}
    found: dict[str, Path] = {}
    existing = [folder for pattern in folders for folder in sorted(root.glob(pattern)) if folder.is_dir()]
    for folder in existing or [root]:
        paths = folder.iterdir() if existing else folder.rglob("*")
        for path in sorted(paths):
            if path.suffix.lower() in wanted:
                found.setdefault(path.name, path)
    return found


def files_there(root: Path, paths: pa.Array) -> NDArray[np.bool_]:
    """Return whether each of many paths below the root is there; every folder is listed once."""
    folders = pc.replace_substring_regex(paths, "/?[^/]*$", "").dictionary_encode()
    names = pc.replace_substring_regex(paths, "^.*/", "")
    listed = [_names_in(os.path.join(root, folder)) for folder in folders.dictionary.to_pylist()]
    codes = np.asarray(folders.indices).tolist()
    return np.array([name in listed[code] for name, code in zip(names.to_pylist(), codes, strict=True)], dtype=bool)


def sizes_of(root: Path, paths: pa.Array, there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return (rows, 2) width and height of many image files; 0, 0 for those that aren't there or can't be read."""
    sizes = np.zeros((len(paths), 2), dtype=np.int64)
    names = paths.filter(pa.array(there)).to_pylist()
    with ThreadPoolExecutor(8) as pool:
        sizes[there] = np.array(list(pool.map(lambda name: size_or_unknown(root / name), names))).reshape(-1, 2)
    return sizes


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


class ImageFolder:
    """The images of an in-house folder, sub-folders included, found by path, by file name, or by name without suffix.

    Args:
        root: of the dataset.
        folder: where the images are, relative to the root; "" = ``images`` if it exists, else the whole root.

    Raises:
        DataError: the named folder doesn't exist.
    """

    def __init__(self, root: Path, folder: str = "") -> None:
        if folder and not (root / folder).is_dir():
            raise DataError(
                where=f"{root}, option images",
                problem=f"there is no folder '{folder}'",
                expected="a folder below the root",
                remedy="Correct the option images",
            )
        default = root / "images"
        self._base = root / folder if folder else default if default.is_dir() else root
        self._by_name: dict[str, list[Path]] = {}
        self._taken: dict[Path, str] = {}
        for path in sorted(self._base.rglob("*")):
            named = is_image_name(path)
            if path.is_file() and (named or is_dicom(path)):
                # DICOM files are often named by a UID alone, whose last number is no suffix
                for key in {path.name, path.stem} if named else {path.name}:
                    self._by_name.setdefault(key, []).append(path)

    def find(self, name: str, *, where: str) -> Path:
        """Return the file an annotation names; where it would be when it isn't there.

        Args:
            name: file name, with or without folders and suffix.
            where: file and row that name it, for the message.

        Raises:
            DataError: several files fit, or the only one was already found under another name.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        found = self._by_name.get(wanted.name, [])
        if len(found) > 1:
            stem = wanted.with_suffix("").as_posix()
            exact = [path for path in found if path.relative_to(self._base).with_suffix("").as_posix() == stem]
            found = exact or [path for path in found if path.parts[-len(wanted.parts) :] == wanted.parts]
            if len(found) != 1:
                raise _ambiguous(name, where, f"{len(found) or 'no'} of several files of that name fit")
        if not found:
            return self._base.joinpath(*(part for part in wanted.parts if part not in ("/", "..")))
        if self._taken.setdefault(found[0], name) != name:
            raise _ambiguous(name, where, f"its file is already the one of '{self._taken[found[0]]}'")
        return found[0]

    def holds(self, path: Path) -> bool:
        """Return whether a path that :meth:`find` gave is an image that is there."""
        return path in self._by_name.get(path.name, ())

    def image_id(self, path: Path) -> str:
        """Return the path inside the folder, with ``/``: unique, and the plain file name where folders are flat."""
        return path.relative_to(self._base).as_posix()


def _ambiguous(name: str, where: str, problem: str) -> DataError:
    return DataError(
        where=where,
        problem=f"image '{name}': {problem}",
        expected="names that tell one image file each",
        remedy="Write the path inside the image folder, or choose the folder with the option images",
    )
