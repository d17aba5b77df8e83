"""CheXlocalize: radiologists' masks of ten findings for CheXpert's validation and test images, as COCO run lengths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.readers.chexpert import homes
from fx_monai.data.readers.files import find_optional, read_json
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.ops.masks import checked_coco_rle, coco_rle_to_box
from fx_monai.types import Kind

PATHOLOGIES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Lesion", "Airspace Opacity", "Edema", "Consolidation",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Support Devices",
)  # fmt: skip
SPECS = (
    DatasetSpec(
        name="chexlocalize",
        title="CheXlocalize",
        kinds=(Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="Stanford AIMI research use agreement, not commercial",
        url="https://aimi.stanford.edu/datasets/chexlocalize",
        citation="Saporta et al., Nat Mach Intell 2022, doi 10.1038/s42256-022-00536-x",
        classes=Classes(boxes=PATHOLOGIES, masks=PATHOLOGIES),
    ),
)
OPTIONS: tuple[str, ...] = ()

_FOLDERS = ("", "*/", "*/*/")
# part of CheXpert: the folder in its image ids
_PARTS = {"val": "valid", "test": "test"}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the files gt_segmentations_val.json and gt_segmentations_test.json, whichever are there.

    The folder holds them and CheXpert's val and test images. The files name only images with one of the findings; the
    others have no record here. Within an image, a finding with an empty mask is absent, one that isn't named is
    unknown. Boxes are the masks' bounds. Patients and image ids are CheXpert's; the frame is the run lengths' size.
    """
    found = {part: find_optional(root, [f"{f}gt_segmentations_{part}.json" for f in _FOLDERS]) for part in _PARTS}
    if not any(found.values()):
        raise DataError(
            where=str(root),
            problem="there is no file of masks",
            expected="gt_segmentations_val.json or gt_segmentations_test.json",
            remedy="Give the folder that holds them and the images",
        )
    result = ReadResult()
    for part, path in found.items():
        if path is not None:
            _read_part(path, part, root, name, result)
    return result


def _read_part(path: Path, part: str, root: Path, name: str, result: ReadResult) -> None:
    content = read_json(path)
    if not isinstance(content, dict):
        raise _bad(path.name, f"the file holds a {type(content).__name__}", "an object of images")
    names = [_name(key, f"{path.name}, image {key}") for key in content]
    patients = pa.array([patient for patient, _, _ in names], pa.string())
    folders = homes(root, pa.array([part] * len(names), pa.string()), patients).to_pylist()
    for (patient, study, view), home, (key, findings) in zip(names, folders, content.items(), strict=True):
        below = f"{patient}/{study}/{view}.jpg"
        image_id = f"{_PARTS[part]}/{below}"
        if not (root / home / below).is_file():
            result.missing.append(image_id)
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=f"{home}/{below}",
                patient_id=f"chexpert:{patient}",
                study_id=f"{patient}/{study}",
                view="LATERAL" if view.endswith("lateral") else "",
                split=part,
                source_image=f"chexpert/{image_id}",
                **_annotations(findings, f"{path.name}, image {key}"),
            )
        )


def _name(key: str, where: str) -> tuple[str, str, str]:
    """Return patient, study and view of a key such as ``patient64622_study1_view1_frontal``."""
    match = re.fullmatch(r"(patient\d+)_(study\d+)_(view\d+_(?:frontal|lateral))", key)
    if match is None:
        raise _bad(where, "no name of an image of CheXpert", "patient<n>_study<n>_view<n>_frontal or _lateral")
    return match[1], match[2], match[3]


def _annotations(findings: Any, where: str) -> dict[str, Any]:
    if not isinstance(findings, dict):
        raise _bad(where, f"a {type(findings).__name__}", "an object of findings")
    masks, boxes, looked, sizes = [], [], [], set()
    for label, rle in findings.items():
        place = f"{where}, {label}"
        if label not in PATHOLOGIES:
            raise _bad(place, "unknown finding", ", ".join(PATHOLOGIES))
        if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys() or np.shape(rle["size"]) != (2,):
            raise _bad(place, "no run lengths", "an object with size and counts")
        index, checked = PATHOLOGIES.index(label), checked_coco_rle(rle, where=place)
        sizes.add(tuple(checked["size"]))
        looked.append(index)
        bounds = coco_rle_to_box(checked)
        if bounds:
            masks.append(Mask(index, "coco_rle", json.dumps(checked)))
            boxes.append(Box(*bounds, index))
    if len(sizes) != 1:
        raise _bad(where, f"masks of {len(sizes)} sizes", "masks of one size, the image's")
    height, width = sizes.pop()
    annotated = sorted(looked)
    return {
        "width": width,
        "height": height,
        "masks": masks,
        "masks_annotated": annotated,
        "boxes": boxes,
        "boxes_annotated": annotated,
    }


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")
