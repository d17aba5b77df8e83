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
_EVERYTHING = list(range(len(CLASSES)))
_KEYS = ("file_name", "syms", "boxes", "polygons")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Radiologists looked for all 13 classes; an empty entry is an image without any of them."""
    result = ReadResult([])
    for split in ("train", "test"):
        path = find_file(root, (f"ChestX_Det_{split}.json",), what=f"ChestX_Det_{split}.json")
        files = files_by_name(root, (split, f"{split}_data"), (".png",))
        for position, entry in enumerate(_entries(path)):
            annotations = parse_entry(entry, f"{path.name}, entry {position}")
            file = entry["file_name"]
            image_id = f"{split}/{file}"
            if file not in files:
                result.missing.append(image_id)
            result.records.append(
                Record(
                    dataset=name,
                    image_id=image_id,
                    image_path=str(files[file].relative_to(root)) if file in files else image_id,
                    width=FRAME,
                    height=FRAME,
                    patient_id=f"chestx_det:{image_id}",
                    split=split,
                    **annotations,
                )
            )
    return result


def parse_entry(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return labels, boxes and masks of one entry.

    Raises:
        DataError: a key is missing, the lists differ in length, an unknown class, or a box or polygon that is none.
    """
    missing = [key for key in _KEYS if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise _bad(where, f"there is no '{missing[0]}'", f"an entry with {', '.join(_KEYS)}")
    where = f"{where}, {entry['file_name']}"
    classes = [_class(label, where) for label in entry["syms"]]
    corners, polygons = entry["boxes"], entry["polygons"]
    if not len(classes) == len(corners) == len(polygons):
        raise _bad(
            where, f"{len(classes)} syms, {len(corners)} boxes, {len(polygons)} polygons", "lists of the same length"
        )
    bad = [box for box in corners if len(box) != 4]
    if bad:
        raise _bad(where, f"a box of {len(bad[0])} numbers", "x1, y1, x2, y2")
    return {
        "labels": [float(i in classes) for i in _EVERYTHING],
        "boxes": [
            frame_box([float(value) for value in box], i, (FRAME, FRAME), where=where)
            for i, box in zip(classes, corners, strict=True)
        ],
        "boxes_annotated": _EVERYTHING,
        "masks": [_mask(i, points, where) for i, points in zip(classes, polygons, strict=True)],
        "masks_annotated": _EVERYTHING,
    }


def _entries(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise _bad(path.name, f"the file holds a {type(content).__name__}", "a list of entries")
    return content


def _class(label: str, where: str) -> int:
    if label not in CLASSES:
        raise _bad(where, f"unknown class '{label}'", ", ".join(CLASSES))
    return CLASSES.index(label)


def _mask(class_index: int, points: Sequence[Any], where: str) -> Mask:
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise _bad(where, f"a polygon of {len(points)} points", "at least 3 points x, y")
    return Mask(class_index, "polygon", json.dumps([[value for point in points for value in point]]))


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")
