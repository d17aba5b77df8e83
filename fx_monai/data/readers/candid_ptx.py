"""CANDID-PTX: DICOM files without suffix, and three tables of relative run-length masks in 1024 x 1024."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.pixels import is_dicom
from fx_monai.data.readers.dicom_tags import patient_tags
from fx_monai.data.readers.files import find_file, find_optional
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import Table, read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.ops.masks import CocoRLE, decode_coco_rle, mask_to_box, relative_rle_to_coco, union_coco_rle
from fx_monai.types import Kind

CLASSES = ("Pneumothorax", "Chest tube", "Acute rib fracture")

SPECS = (
    DatasetSpec(
        name="candid_ptx",
        title="CANDID-PTX",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="data-use agreement and ethics course; not redistributable",
        url="https://doi.org/10.17608/k6.auckland.14173982",
        citation="Feng et al., Curation of the CANDID-PTX Dataset with Free-Text Reports, Radiology: AI 2021",
        classes=Classes(labels=CLASSES, boxes=CLASSES, masks=CLASSES),
    ),
)

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
Corners = tuple[float, float, float, float]
_REPORTS = "Pneumothorax_reports.csv"
# of chest tubes and of rib fractures
_OTHERS = (("chest_tube.csv",), ("acute_rib_fracture.csv", "Rib_fracture_mask_rle.csv"))
_IMAGES, _MASKS = ("SOPInstanceUID", "anon_SOPUID"), ("EncodedPixels", "mask_rle")
_FOLDERS = (
    "dataset",
    "chest_radiographs",
    "dataset1/dataset",
    "*/dataset",
    "*/chest_radiographs",
    "*/dataset1/dataset",
)


@dataclass
class Statements:
    """What the rows of one table say about one image.

    Args:
        masks: one COCO RLE and its bounds per row with a mask, equal rows once.
        negative: whether a row says ``-1``.
    """

    masks: list[tuple[CocoRLE, Corners]] = field(default_factory=list)
    negative: bool = False

    @property
    def contradict(self) -> bool:
        """Whether there is a mask and a row that says there is none."""
        return self.negative and bool(self.masks)

    @property
    def label(self) -> float:
        """Return 1, 0, or NaN where the rows say nothing or contradict each other."""
        return math.nan if self.negative == bool(self.masks) else float(bool(self.masks))


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    Pneumothorax comes from the reports' table. Chest tubes and rib fractures were looked for in every image of that
    table; those that their own tables don't list have none, and all are unknown where such a table isn't there. A blank
    cell is unknown; so are rows that contradict each other (a mask and -1). Rows of an image are one mask (their
    union) and a box each. Images listed under two patients are left out: they would join both patients' splits.
    """
    path = find_file(root, (_REPORTS, f"*/{_REPORTS}"), what=_REPORTS)
    reports = read_table(path)
    about, torn = _about(reports, path)
    tables = [read_statements(path, reports)]
    for names in _OTHERS:
        other = find_optional(path.parent, names)
        said = read_statements(other, read_table(other)) if other else {}
        unlisted = Statements(negative=other is not None)
        tables.append({**dict.fromkeys(about, unlisted), **said})
    files = _files(root)
    result = ReadResult([], missing=sorted(about.keys() - files.keys() - torn))
    for image_id in sorted({*files, *about} - torn):
        file = files.get(image_id)
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=file.relative_to(root).as_posix() if file else f"dataset/{image_id}",
                width=FRAME,
                height=FRAME,
                **about.get(image_id, {"patient_id": f"candid_ptx:image:{image_id}", "study_id": ""}),
                **_annotations([table.get(image_id, Statements()) for table in tables], image_id),
                **(patient_tags(file, frame_width=FRAME) if file else {}),
            )
        )
    strangers = set().union(*tables) - {*files, *about}
    counts = {
        f"images stand under several patients in {path.name}; left out": len(torn),
        f"images have no row in {path.name}; their pneumothorax is unknown": len(files.keys() - about.keys()),
        f"images of the other tables are neither in {path.name} nor there as a file; left out": len(strangers),
        "images have a mask and -1 in one table; that class is unknown there": sum(
            said.contradict for table in tables for said in table.values()
        ),
    }
    result.notes += [f"{name}: {count} {what}" for what, count in counts.items() if count]
    return result


def read_statements(path: Path, table: Table) -> dict[str, Statements]:
    """Return image -> what a table's rows say; a blank cell says nothing.

    Raises:
        DataError: no column of images or masks, or a run-length text that is empty or breaks the format.
    """
    image_column, mask_column = (_column(table, names, path) for names in (_IMAGES, _MASKS))
    found: dict[str, Statements] = {}
    for line, row in table.rows:
        said, text = found.setdefault(row[image_column], Statements()), row[mask_column]
        if text == "-1":
            said.negative = True
        elif text:
            where = f"{path.name}, line {line}, column {mask_column}"
            rle = relative_rle_to_coco(text, height=FRAME, width=FRAME, where=where)
            bounds = mask_to_box(decode_coco_rle(rle))
            if bounds is None:
                raise DataError(
                    where=where,
                    problem="the mask is empty",
                    expected="-1 (nothing there), blank (unknown), or pairs of gap and length",
                    remedy="Correct the cell",
                )
            if (rle, bounds) not in said.masks:
                said.masks.append((rle, bounds))
    return found


def _column(table: Table, names: Sequence[str], path: Path) -> str:
    for name in names:
        if name in table.columns:
            return name
    raise DataError(
        where=path.name,
        problem=f"there is no column {' or '.join(names)}",
        expected=f"the columns as distributed; found {', '.join(table.columns)}",
        remedy="Download the file again or correct the header",
    )


def _about(table: Table, path: Path) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return image -> patient and study, and the images that stand under several patients."""
    image_column = _column(table, _IMAGES, path)
    about: dict[str, dict[str, Any]] = {}
    torn = set()
    for _, row in table.rows:
        match = re.match(r"P(\d+)_", row.get("filename", ""))
        patient = f"candid_ptx:{int(match[1])}" if match else f"candid_ptx:image:{row[image_column]}"
        known = about.setdefault(
            row[image_column], {"patient_id": patient, "study_id": row.get("StudyInstanceUID", "")}
        )
        if known["patient_id"] != patient:
            torn.add(row[image_column])
    return about, torn


def _files(root: Path) -> dict[str, Path]:
    """Return image -> file; a file name is the whole UID, whose last number is no suffix."""
    folders = [folder for pattern in _FOLDERS for folder in sorted(root.glob(pattern)) if folder.is_dir()]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!.]*")):
            if path.is_file() and is_dicom(path):
                found.setdefault(re.sub(r"\.(?:dcm|dicom)$", "", path.name, flags=re.IGNORECASE), path)
    return found


def _annotations(rows: Sequence[Statements], image_id: str) -> dict[str, Any]:
    known = [index for index, said in enumerate(rows) if not math.isnan(said.label)]
    return {
        "labels": [said.label for said in rows],
        "boxes": [
            frame_box(bounds, index, (FRAME, FRAME), where=f"image {image_id}")
            for index in known
            for _, bounds in rows[index].masks
        ],
        "boxes_annotated": known,
        "masks": [
            Mask(index, "coco_rle", json.dumps(union_coco_rle([rle for rle, _ in rows[index].masks])))
            for index in known
            if rows[index].masks
        ],
        "masks_annotated": known,
    }
