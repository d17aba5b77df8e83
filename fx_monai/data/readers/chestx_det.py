"""ChestX-Det: two JSON lists (train, test) with classes, boxes and polygons side by side; PNG of 1024 x 1024."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.readers.files import files_by_name, find_file, read_json
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

CLASSES = (
    "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax",
)  # fmt: skip
SPECS = (
    DatasetSpec(
        name="chestx_det",
        title="ChestX-Det",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="annotations Apache-2.0, images NIH",
        url="https://github.com/Deepwise-AILab/ChestX-Det-Dataset",
        citation="Lian et al., A Structure-Aware Relation Network for Thoracic Diseases Detection, IEEE TMI 2021",
        classes=Classes(labels=CLASSES, boxes=CLASSES, masks=CLASSES),
    ),
)

OPTIONS: tuple[str, ...] = ()

FRAME = 1024


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Radiologists looked for all 13 classes; an empty entry is an image without any of them."""
    return read_lists(root, name=name, prefix="ChestX_Det_", classes=CLASSES, with_masks=True)


def read_lists(root: Path, *, name: str, prefix: str, classes: Sequence[str], with_masks: bool) -> ReadResult:
    """Read ``<prefix>train.json`` and ``<prefix>test.json``; ChestX-Det10 is the same images with fewer classes.

    A box that stands twice in an image counts once.
    """
    result = ReadResult([])
    repeated = 0
    for split in ("train", "test"):
        file_name = f"{prefix}{split}.json"
        path = find_file(root, (file_name, f"*/{file_name}"), what=file_name)
        files = files_by_name(root, (split, f"{split}_data", f"*/{split}", f"*/{split}_data"), (".png",))
        for position, entry in enumerate(_entries(path)):
            where = f"{path.name}, entry {position}"
            annotations = parse_entry(entry, where, classes=classes, with_masks=with_masks)
            repeated += len(entry["boxes"]) - len(annotations["boxes"])
            file = entry["file_name"]
            image_id = f"{split}/{file}"
            if file not in files:
                result.missing.append(image_id)
            result.records.append(
                Record(
                    dataset=name,
                    image_id=image_id,
                    image_path=files[file].relative_to(root).as_posix() if file in files else image_id,
                    width=FRAME,
                    height=FRAME,
                    patient_id=f"chestx_det:{image_id}",
                    source_image=f"chestx_det/{image_id}",
                    split=split,
                    **annotations,
                )
            )
    if repeated:
        result.notes.append(f"{name}: {repeated} boxes stand twice in their image; counted once")
    return result


def parse_entry(
    entry: Mapping[str, Any], where: str, *, classes: Sequence[str] = CLASSES, with_masks: bool = True
) -> dict[str, Any]:
    """Return labels, boxes and masks of one entry.

    Args:
        entry: as in the file.
        where: file and position, for messages.
        classes: names, in the order of their indices.
        with_masks: whether a list of polygons belongs to an entry.

    Raises:
        DataError: a key is missing, the lists differ in length, an unknown class, or a box or polygon that is none.
    """
    keys = ("file_name", "syms", "boxes", *(("polygons",) if with_masks else ()))
    missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise _bad(where, f"there is no '{missing[0]}'", f"an entry with {', '.join(keys)}")
    other = [key for key in keys if not isinstance(entry[key], str if key == "file_name" else list)]
    if other:
        raise _bad(where, f"'{other[0]}' is a {type(entry[other[0]]).__name__}", "a file name, and lists")
    where = f"{where}, {entry['file_name']}"
    found = [_class(label, classes, where) for label in entry["syms"]]
    corners, polygons = entry["boxes"], entry["polygons"] if with_masks else [()] * len(entry["boxes"])
    if not len(found) == len(corners) == len(polygons):
        counts = f"{len(found)} syms, {len(corners)} boxes"
        counts += f", {len(polygons)} polygons" if with_masks else ""
        raise _bad(where, counts, "lists of the same length")
    if not all(_is_numbers(box, 4) for box in corners):
        raise _bad(where, "a box that isn't four numbers", "x1, y1, x2, y2")
    everything = list(range(len(classes)))
    boxes = (
        frame_box([float(value) for value in box], i, (FRAME, FRAME), where=where)
        for i, box in zip(found, corners, strict=True)
    )
    return {
        "labels": [float(i in found) for i in everything],
        "boxes": list(dict.fromkeys(boxes)),
        "boxes_annotated": everything,
        "masks": [_mask(i, points, where) for i, points in zip(found, polygons, strict=True) if with_masks],
        "masks_annotated": everything if with_masks else [],
    }


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise _bad(path.name, f"the file holds a {type(content).__name__}", "a list of entries")
    return content


def _class(label: str, classes: Sequence[str], where: str) -> int:
    if label not in classes:
        raise _bad(where, f"unknown class '{label}'", ", ".join(classes))
    return classes.index(label)


def _is_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(n, (int, float)) for n in values)


def _mask(class_index: int, points: Sequence[Any], where: str) -> Mask:
    if not isinstance(points, list) or len(points) < 3 or not all(_is_numbers(point, 2) for point in points):
        raise _bad(where, "a polygon that isn't a list of points", "at least 3 points x, y")
    return Mask(class_index, "polygon", json.dumps([[value for point in points for value in point]]))


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")
