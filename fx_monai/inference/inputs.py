"""Which images a prediction is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fx_monai.data.pixels import IMAGE_SUFFIXES, is_dicom, is_image_name
from fx_monai.errors import DataError


def find_images(inputs: Sequence[Path], *, leave_out: Path | None = None) -> list[Path]:
    """Return every image among files and folders (searched recursively), each once, but for what lies in ``leave_out``.

    Files that are named are taken whatever they are called.

    Raises:
        DataError: an input doesn't exist, or no image was found.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise DataError(
                where=str(path),
                problem="there is no such file or folder",
                expected="an image",
                remedy="Correct the path",
            )
        if path.is_file():
            found.append(path)
        else:
            found += sorted(p for p in path.rglob("*") if p.is_file() and _looks_like_image(p))
    if leave_out is not None:
        results = leave_out.resolve()
        found = [path for path in found if results not in path.resolve().parents or path in inputs]
    if not found:
        raise DataError(
            where=", ".join(str(path) for path in inputs),
            problem="no image was found",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)}, or DICOM files",
            remedy="Name the files or another folder",
        )
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def named_by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Return a unique name -> path: the file's name without suffix, with a number where it stands already."""
    names: dict[str, Path] = {}
    for path in paths:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}_{number}", number + 1
        names[name] = path
    return names


def _looks_like_image(path: Path) -> bool:
    # DICOM files are often named by a UID, whose last number looks like a suffix
    return is_image_name(path) or is_dicom(path)
