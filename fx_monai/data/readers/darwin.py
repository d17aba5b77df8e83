"""V7 Darwin JSON (1.0 and 2.0), one file per image, as the content of a COCO file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fx_monai.data.readers.files import read_json
from fx_monai.errors import DataError


def find_darwin_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder."""
    return sorted(path for path in folder.glob("[!.]*.json") if path.is_file())


def read_darwin(paths: Sequence[Path]) -> dict[str, Any]:
    """Return images, annotations, categories and tag_categories of all files, in the form of a COCO file.

    Polygons and bounding boxes become annotations, tags of the whole image become ``tag_ids``.

    Raises:
        DataError: not Darwin JSON, or a polygon of several paths (paths inside others are holes, which COCO hasn't).
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    tags: dict[str, None] = {}
    for number, path in enumerate(paths):
        content = read_json(path)
        try:
            entry = {"id": number, **_image(content)}
            for item in content["annotations"]:
                if "tag" in item:
                    tags.setdefault(item["name"])
                    entry["tag_ids"].append(item["name"])
                else:
                    annotations += _shapes(item, {"id": len(annotations), "image_id": number}, path)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise _bad(path.name, f"not Darwin JSON ({type(error).__name__}: {error})") from error
        images.append(entry)
    names = sorted({annotation["category_id"] for annotation in annotations})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": name, "name": name} for name in names],
        "tag_categories": [{"id": name, "name": name} for name in tags],
    }


def _image(content: Mapping[str, Any]) -> dict[str, Any]:
    if "item" in content:
        slot = content["item"]["slots"][0]
        name = content["item"]["name"]
    else:
        slot = content["image"]
        name = slot.get("original_filename") or slot["filename"]
    return {"file_name": name, "width": slot["width"], "height": slot["height"], "tag_ids": []}


def _shapes(item: Mapping[str, Any], common: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    shape: dict[str, Any] = {**common, "category_id": item["name"]}
    if "bounding_box" in item:
        shape["bbox"] = [float(item["bounding_box"][key]) for key in "xywh"]
    if "polygon" in item or "complex_polygon" in item:
        outlines = _outlines(item)
        if len(outlines) != 1:
            raise _bad(f"{path.name}, annotation '{item['name']}'", f"a polygon of {len(outlines)} paths")
        shape["segmentation"] = [[float(point[axis]) for point in outlines[0] for axis in "xy"]]
    if len(shape) > len(common) + 1:
        yield shape


def _outlines(item: Mapping[str, Any]) -> list[Any]:
    polygon = item.get("polygon") or item["complex_polygon"]
    if "paths" in polygon:
        return list(polygon["paths"])
    path = polygon["path"]
    nested = bool(path) and isinstance(path[0], list)
    return [*(path if nested else [path]), *polygon.get("additional_paths", [])]


def _bad(where: str, problem: str) -> DataError:
    return DataError(
        where=where,
        problem=problem,
        expected="an image and annotations that are tags, boxes or polygons of one path",
        remedy="Export the annotations as COCO JSON, or leave the annotation out",
    )
