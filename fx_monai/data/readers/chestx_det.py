"""ChestX-Det: two JSON lists (train, test) with classes, boxes and polygons side by side; PNG of 1024 x 1024."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.catalog import CHESTX_DET
from fx_monai.data.manifest import Box, Mask, Record
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import files_by_name, find_file, read_json
from fx_monai.errors import DataError

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
_EVERYTHING = list(range(len(CHESTX_DET)))


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Radiologists looked for all 13 classes; an empty entry is an image without any of them."""
    result = ReadResult([])
    for split in ("train", "test"):
        path = find_file(root, (f"ChestX_Det_{split}.json",), what=f"ChestX_Det_{split}.json")
        files = files_by_name(root, (split, f"{split}_data"), (".png",))
        for entry in read_json(path):
            file = entry["file_name"]
            if file not in files:
                result.missing.append(file)
                continue
            where = f"{path.name}, image {file}"
            classes = [_class(label, where) for label in entry["syms"]]
            if not len(classes) == len(entry["boxes"]) == len(entry["polygons"]):
                raise DataError(
                    where=where,
                    problem=f"{len(classes)} syms, {len(entry['boxes'])} boxes, {len(entry['polygons'])} polygons",
                    expected="lists of the same length",
                    remedy="Download the file again",
                )
            image_id = f"{split}/{file}"
            result.records.append(
                Record(
                    dataset=name,
                    image_id=image_id,
                    image_path=str(files[file].relative_to(root)),
                    width=FRAME,
                    height=FRAME,
                    patient_id=f"chestx_det:{image_id}",
                    split=split,
                    labels=[float(i in classes) for i in _EVERYTHING],
                    boxes=[_box(i, corners) for i, corners in zip(classes, entry["boxes"], strict=True)],
                    boxes_annotated=_EVERYTHING,
                    masks=[_mask(i, points) for i, points in zip(classes, entry["polygons"], strict=True)],
                    masks_annotated=_EVERYTHING,
                )
            )
    return result


def _class(label: str, where: str) -> int:
    if label not in CHESTX_DET:
        raise DataError(
            where=where,
            problem=f"unknown class '{label}'",
            expected=", ".join(CHESTX_DET),
            remedy="Correct the entry",
        )
    return CHESTX_DET.index(label)


def _box(class_index: int, corners: list[float]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in corners)
    return Box(x1, y1, x2, y2, class_index)


def _mask(class_index: int, points: list[Any]) -> Mask:
    return Mask(class_index, "polygon", json.dumps([[value for point in points for value in point]]))
