"""Finding the files of a native tree: annotation files by pattern, images by the name an annotation gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fx_monai.data.pixels import is_image_name
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
            if is_image_name(path) and path.is_file():
                for key in {path.name, path.stem}:
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
