"""SIIM-ACR Pneumothorax 2019: DICOM (stage 1 tree or stage 2 flat) and relative run-length masks in 1024 x 1024."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.pixels import is_dicom
from fx_monai.data.readers.dicom_tags import patient_tags
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.ops.masks import CocoRLE, decode_coco_rle, mask_to_box, relative_rle_to_coco, union_coco_rle
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="siim_acr",
        title="SIIM-ACR Pneumothorax Segmentation 2019",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="competition rules (Kaggle)",
        url="https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation",
        citation="Filice et al., J Digit Imaging 2020",
        classes=Classes(labels=("Pneumothorax",), boxes=("Pneumothorax",), masks=("Pneumothorax",)),
    ),
)

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
_TABLES = ("stage_2_train.csv", "train-rle.csv", "*/stage_2_train.csv", "*/train-rle.csv")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Several rows of an image are several lesions: one mask (their union), one box each.

    Images without a row (the test images, a few of the training images) have unknown labels.
    """
    path = find_file(root, _TABLES, what="table of run-length masks")
    lesions = read_lesions(path)
    files = _files(root)
    result = ReadResult([], missing=[image for image in lesions if image not in files])
    for image_id in (*files, *result.missing):
        file = files.get(image_id)
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=str(file.relative_to(root)) if file else f"stage_2_images/{image_id}.dcm",
                width=FRAME,
                height=FRAME,
                patient_id=f"siim:{image_id}",
                **_annotations(lesions.get(image_id), f"{path.name}, ImageId {image_id}"),
                **(patient_tags(file, frame_width=FRAME) if file and is_dicom(file) else {}),
            )
        )
    unlabelled = sum(image not in lesions for image in files)
    if unlabelled:
        result.notes.append(f"{name}: {unlabelled} images have no row in {path.name}; their annotations are unknown")
    return result


def _files(root: Path) -> dict[str, Path]:
    """Return image -> file: DICOM, else pictures of a copy (any size) under the same name, but not of masks.

    Raises:
        DataError: two pictures of an image without DICOM; one of them may be its mask.
    """
    suffixes = (".dcm", ".png", ".jpg", ".jpeg")
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in suffixes]
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: suffixes.index(path.suffix.lower())):
        name = re.sub(r"(\.dcm)?\.\w+$", "", path.name)
        if is_dicom(path) or (re.fullmatch(r"[\d.]+", name) and "mask" not in path.parent.name.lower()):
            first = found.setdefault(name, path)
            if first != path and not is_dicom(first):
                folders = " and ".join(sorted(f"'{file.parent.relative_to(root)}'" for file in (first, path)))
                raise DataError(
                    where=f"image {name}",
                    problem=f"there are pictures of it in {folders}",
                    expected="one picture per image; masks in a folder named masks",
                    remedy="Rename the folder of masks, or move the other copy away",
                )
    return found


def read_lesions(path: Path) -> dict[str, list[CocoRLE]]:
    """Return image id -> one COCO RLE per lesion, an empty list for images without pneumothorax.

    Raises:
        DataError: a run-length text that is blank or breaks the format, or ``-1`` beside a lesion of the same image.
    """
    lesions: dict[str, list[CocoRLE]] = {}
    without: set[str] = set()
    for line, row in read_table(path, columns=("ImageId", "EncodedPixels")).rows:
        image_id, text = row["ImageId"], row["EncodedPixels"]
        where = f"{path.name}, line {line}, column EncodedPixels"
        found = lesions.setdefault(image_id, [])
        if text == "-1":
            without.add(image_id)
        else:
            found.append(relative_rle_to_coco(text, height=FRAME, width=FRAME, where=where))
        if not text or (found and image_id in without):
            raise DataError(
                where=where,
                problem="-1 beside a mask of the same image" if text else "the cell is blank",
                expected="-1 (no pneumothorax) once per image, or pairs of gap and length",
                remedy="Correct the cell or remove the row",
            )
    return lesions


def _annotations(lesions: list[CocoRLE] | None, where: str) -> dict[str, Any]:
    if lesions is None:
        return {"labels": [math.nan]}
    bounds = [mask_to_box(decode_coco_rle(rle)) for rle in lesions]
    return {
        "labels": [float(bool(lesions))],
        "boxes": [frame_box(bound, 0, (FRAME, FRAME), where=where) for bound in bounds if bound],
        "boxes_annotated": [0],
        "masks": [Mask(0, "coco_rle", json.dumps(union_coco_rle(lesions)))] if lesions else [],
        "masks_annotated": [0],
    }
