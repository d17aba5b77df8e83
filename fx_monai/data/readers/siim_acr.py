"""SIIM-ACR Pneumothorax 2019: DICOM (stage 1 tree or stage 2 flat) and relative run-length masks in 1024 x 1024."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Box, Mask, Record
from fx_monai.data.readers.dicom_tags import patient_tags
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import find_file, read_table
from fx_monai.ops.masks import decode_coco_rle, mask_to_box, relative_rle_to_coco, union_coco_rle

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
_TABLES = ("stage_2_train.csv", "train-rle.csv", "*/train-rle.csv")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Several rows of an image are several lesions: one mask (their union), one box each."""
    path = find_file(root, _TABLES, what="table of run-length masks")
    lesions: dict[str, list[str]] = {}
    for line, row in enumerate(read_table(path, columns=("ImageId", "EncodedPixels")).to_dict("records"), start=2):
        found = lesions.setdefault(row["ImageId"].strip(), [])
        text = row["EncodedPixels"].strip()
        if text != "-1":
            where = f"{path.name}, line {line}"
            found.append(json.dumps(relative_rle_to_coco(text, height=FRAME, width=FRAME, where=where)))
    files = {p.stem: p for p in sorted(root.rglob("*.dcm")) if "test" not in str(p.relative_to(root))}
    result = ReadResult([], missing=[image for image in lesions if image not in files])
    unlabelled = [stem for stem in files if stem not in lesions]
    if unlabelled:
        result.notes.append(f"{name}: {len(unlabelled)} images have no row in {path.name}; left out")
    for image_id, masks in lesions.items():
        if image_id not in files:
            continue
        file = files[image_id]
        rles = [json.loads(mask) for mask in masks]
        bounds = [mask_to_box(decode_coco_rle(rle)) for rle in rles]
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=str(file.relative_to(root)),
                width=FRAME,
                height=FRAME,
                patient_id=f"siim:{image_id}",
                labels=[float(bool(rles))],
                boxes=[Box(*bound, 0) for bound in bounds if bound],
                boxes_annotated=[0],
                masks=[Mask(0, "coco_rle", json.dumps(union_coco_rle(rles)))] if rles else [],
                masks_annotated=[0],
                **patient_tags(file, frame_width=FRAME),
            )
        )
    return result
