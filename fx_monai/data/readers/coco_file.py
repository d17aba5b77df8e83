"""The structure of a COCO file: what has to be there, ids and names that tell things apart, pixels for numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fx_monai.errors import DataError

_ID = (int, str)
# section -> key -> types
_NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": _ID, "file_name": (str,), "width": (object,), "height": (object,)},
    "annotations": {"image_id": _ID},
    "categories": {"id": _ID, "name": _ID},
    "tag_categories": {"id": _ID, "name": _ID},
}
_OPTIONAL: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"metadata": (dict,), "tag_ids": (list,)},
    "annotations": {"category_id": _ID},
}
_UNIQUE = (("images", "id"), ("categories", "id"), ("categories", "name"))


def checked_coco(content: Any, path: Path) -> dict[str, Any]:
    """Return the content of a file after checking its structure; ``tag_categories`` may be missing.

    Raises:
        DataError: a section or key is missing or of another type, an id or a category's name stands twice (its
            annotations would count for the wrong image or class), or all coordinates are fractions instead of pixels.
    """
    if isinstance(content, dict):
        content = {"tag_categories": [], **content}
    for section, needed in _NEEDED.items():
        if not isinstance(content, dict) or not isinstance(content.get(section), list):
            raise bad(
                path.name,
                f"there is no list '{section}'",
                "a COCO file with images, annotations and categories",
                "Name the right file with the option annotations=FILE",
            )
        for position, entry in enumerate(content[section]):
            _check_entry(entry, needed, _OPTIONAL.get(section, {}), f"{path.name}, {section}[{position}]")
    for section, key in _UNIQUE:
        _check_unique([entry[key] for entry in content[section]], f"{path.name}, {section}", key)
    if len({type(category["id"]) for category in content["categories"]}) > 1:
        raise bad(f"{path.name}, categories", "some ids are numbers, others text", "ids of one type")
    numbers = [n for annotation in content["annotations"] for n in _coordinates(annotation)]
    if numbers and max(numbers) <= 1:
        raise bad(
            f"{path.name}, annotations",
            "no coordinate is above 1; they look like fractions of the image",
            "pixels of the image entry's width and height",
            "Multiply them by the width and the height",
        )
    return dict(content)


def _check_entry(
    entry: Any, needed: Mapping[str, tuple[type, ...]], optional: Mapping[str, tuple[type, ...]], where: str
) -> None:
    missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise bad(where, f"there is no '{missing[0]}'", f"the keys {', '.join(needed)}")
    for key, types in {**needed, **optional}.items():
        value = entry.get(key)
        if not isinstance(value, types) and (value is not None or key in needed):
            names = " or ".join({int: "a number", str: "text", dict: "an object", list: "a list"}[t] for t in types)
            raise bad(where, f"'{key}' is a {type(value).__name__}", names)


def _check_unique(values: list[Any], where: str, key: str) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise bad(where, f"the {key} {value!r} stands twice", f"a different {key} for each", "Number them anew")
        seen.add(value)


def _coordinates(annotation: Mapping[str, Any]) -> Iterator[float]:
    shapes = annotation.get("segmentation")
    for part in (annotation.get("bbox"), *(shapes if isinstance(shapes, list) else ())):
        if isinstance(part, list):
            yield from (number for number in part if isinstance(number, (int, float)))


def bad(where: str, problem: str, expected: str, remedy: str = "Correct the entry or leave it out") -> DataError:
    """Return the error of an entry."""
    return DataError(where=where, problem=problem, expected=expected, remedy=remedy)
