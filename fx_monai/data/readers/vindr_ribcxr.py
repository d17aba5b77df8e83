"""VinDr-RibCXR: polygons of 20 ribs in column-oriented JSON (one file for train, one for val), PNG."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import files_by_name, read_json
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

_NUMBERS = range(1, 11)
RIBS = (*(f"R{number}" for number in _NUMBERS), *(f"L{number}" for number in _NUMBERS))
SPECS = (
    DatasetSpec(
        name="vindr_ribcxr",
        title="VinDr-RibCXR",
        kinds=(Kind.SEGMENTATION,),
        licence="data use agreement by request, not commercial",
        url="https://vindr.ai/datasets/ribcxr",
        citation="Nguyen et al., VinDr-RibCXR, MIDL 2021, arXiv 2107.01327",
        classes=Classes(masks=RIBS),
        laterality=tuple((f"L{number}", f"R{number}") for number in _NUMBERS),
    ),
)
OPTIONS: tuple[str, ...] = ()

MISSING_RIB = "None"


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree, whatever the case of its folders (``Data`` or ``data``).

    Ribs overlap, so each has its own mask; left and right are the patient's. A rib that is ``"None"`` wasn't drawn: it
    is unknown in that image. The files' own size is the annotation frame.
    """
    tables = {
        path.name.lower(): path for path in sorted(root.rglob("*.json")) if path.name.lower().startswith("vindr_ribcxr")
    }
    found = {split: tables.get(f"vindr_ribcxr_{split}_mask.json") for split in ("train", "val")}
    if not any(found.values()):
        raise DataError(
            where=str(root),
            problem="there is no file of rib polygons",
            expected="Vindr_RibCXR_train_mask.json or Vindr_RibCXR_val_mask.json",
            remedy="Give the folder as it was downloaded and unpacked",
        )
    files = files_by_name(root, (), (".png",))
    result = ReadResult()
    for split, path in found.items():
        if path is None:
            continue
        content = _content(path)
        for key, image in content["img"].items():
            where = f"{path.name}, image {key}"
            if not isinstance(image, str):
                raise _bad(f"{where}, column img", "no file name", "a path of the image")
            # the paths start at a folder that isn't told, and their case differs from the disk's
            file_name = PurePosixPath(image.replace("\\", "/")).name
            file = files.get(file_name)
            image_id = PurePosixPath(file_name).stem
            if file is None:
                result.missing.append(image_id)
            width, height = size_or_unknown(file) if file else (0, 0)
            masks = [
                Mask(index, "polygon", polygon)
                for index, rib in enumerate(RIBS)
                if (polygon := _polygon(content[rib].get(key), (width, height), f"{where}, column {rib}"))
            ]
            result.records.append(
                Record(
                    dataset=name,
                    image_id=image_id,
                    image_path=str(file.relative_to(root)) if file else f"data/{split}/img/{file_name}",
                    width=width,
                    height=height,
                    patient_id=f"vindr_ribcxr:{image_id}",
                    split=split,
                    masks=masks,
                    masks_annotated=[mask.class_index for mask in masks],
                )
            )
    return result


def _content(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path)
    for column in ("img", *RIBS):
        if not isinstance(content, dict) or not isinstance(content.get(column), dict):
            raise _bad(path.name, f"there is no column '{column}'", f"an object with img, {', '.join(RIBS)}")
    return dict(content)


def _polygon(points: Any, frame: tuple[int, int], where: str) -> str:
    """Return the polygon in the manifest's form, "" for a rib that wasn't drawn."""
    if points is None or points == MISSING_RIB:
        return ""
    try:
        flat = [float(point[axis]) for point in points for axis in "xy"]
    except (TypeError, KeyError, ValueError):
        raise _bad(where, "no list of points", f"points with x and y, or '{MISSING_RIB}'") from None
    if len(flat) < 6 or not all(math.isfinite(value) for value in flat):
        raise _bad(where, f"a polygon of {len(flat) // 2} points", "at least 3 finite points")
    if frame != (0, 0) and not _touches(flat, frame):
        raise _bad(where, "the polygon lies outside the image", f"pixels inside {frame[0]} x {frame[1]}")
    return json.dumps([flat])


def _touches(flat: list[float], frame: tuple[int, int]) -> bool:
    spans = ((min(flat[axis::2]), max(flat[axis::2]), side) for axis, side in enumerate(frame))
    return all(low < side and high > 0 for low, high, side in spans)


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")
