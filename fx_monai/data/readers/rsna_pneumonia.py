"""RSNA Pneumonia Detection 2018 (Kaggle or RSNA's export): DICOM, or the same images as NIH PNGs through an id map."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Record
from fx_monai.data.readers import nih_chestxray14 as nih
from fx_monai.data.readers.dicom_tags import patient_tags
from fx_monai.data.readers.files import files_by_name, find_file, find_optional
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.rsna_export import EXPORT, FRAME, LABELS, POSITIVE, read_export, read_origins
from fx_monai.data.readers.tables import number, read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="rsna_pneumonia",
        title="RSNA Pneumonia Detection Challenge 2018",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="any purpose with attribution (RSNA); competition rules (Kaggle)",
        url="https://www.rsna.org/rsnai/ai-image-challenge/rsna-pneumonia-detection-challenge-2018",
        citation="Shih et al., Radiology: AI 2019, doi 10.1148/ryai.2019180041",
        classes=Classes(labels=LABELS, boxes=("Lung Opacity",), exclusive_labels=True),
    ),
)

OPTIONS: tuple[str, ...] = ()

# of stage 1 other images have labels
_TABLES = ("stage_2_train_labels.csv", "stage_1_train_labels.csv")
_CLASS_TABLE = ("train_labels", "detailed_class_info")
_FOLDERS = ("stage_?_train_images", "*/stage_?_train_images", "stage_?_test_images", "*/stage_?_test_images")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the Kaggle tables, or, where they aren't there, RSNA's own export (see :mod:`.rsna_export`).

    Every labelled image was looked at for opacity boxes; the three labels exclude each other. Images without labels
    (Kaggle's test images) are unknown. RSNA images are NIH images: an id map beside the tables gives patient and source
    (see :func:`.rsna_export.read_origins`); without it RSNA tells no patient, and each image is its own.
    """
    tables = find_optional(root, [f"{above}{table}" for table in _TABLES for above in ("", "*/")])
    if tables is None:
        path = find_file(root, (EXPORT, f"*/{EXPORT}"), what=f"{_TABLES[0]} or {EXPORT}")
        boxes, classes = read_export(path)
    else:
        path = find_file(tables.parent, (tables.name.replace(*_CLASS_TABLE),), what="table of classes")
        boxes, classes = read_boxes(tables), read_classes(path)
    images = _Images.below(root, path.parent)
    result = ReadResult([])
    for image_id in sorted({*boxes, *images.unlabelled(boxes)}):
        label, found = classes.get(image_id), boxes.get(image_id)
        if found is not None and (label is None or bool(found) != (label == LABELS[POSITIVE])):
            raise DataError(
                where=f"{path.name}, patientId {image_id}",
                problem="the image has no class row" if label is None else f"'{label}' with {len(found)} boxes",
                expected=f"a class for every image, '{LABELS[POSITIVE]}' exactly where there are boxes",
                remedy="Download all files of the same stage",
            )
        about = images.about(image_id)
        if not about["image_path"]:
            result.missing.append(image_id)
            about["image_path"] = f"stage_2_train_images/{image_id}.dcm"
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                width=FRAME,
                height=FRAME,
                labels=[math.nan if found is None else float(label == other) for other in LABELS],
                boxes=found or [],
                boxes_annotated=[] if found is None else [0],
                **about,
            )
        )
    if len(result.records) > len(boxes):
        result.notes.append(f"{name}: {len(result.records) - len(boxes)} images have no labels; they are unknown")
    return result


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Return image id -> opacity boxes of ``stage_2_train_labels.csv``, an empty list for images without.

    Raises:
        DataError: a Target other than 0 and 1, or a box that is no box.
    """
    boxes: dict[str, list[Box]] = {}
    for line, row in read_table(path, columns=("patientId", "x", "y", "width", "height", "Target")).rows:
        found = boxes.setdefault(row["patientId"], [])
        if row["Target"] == "1":
            x, y, w, h = (number(row[key], path=path, row=line, column=key) for key in ("x", "y", "width", "height"))
            where = f"{path.name}, line {line}, patientId {row['patientId']}"
            found.append(frame_box((x, y, x + w, y + h), 0, (FRAME, FRAME), where=where))
        elif row["Target"] != "0":
            raise DataError(
                where=f"{path.name}, line {line}, column Target",
                problem=f"'{row['Target']}'",
                expected="0 or 1",
                remedy="Correct the cell",
            )
    return boxes


def read_classes(path: Path) -> dict[str, str]:
    """Return image id -> class of ``stage_2_detailed_class_info.csv``, which has one row per box.

    Raises:
        DataError: an unknown class, or different classes of one image.
    """
    classes: dict[str, str] = {}
    for line, row in read_table(path, columns=("patientId", "class")).rows:
        label = row["class"]
        if label not in LABELS or classes.get(row["patientId"], label) != label:
            raise DataError(
                where=f"{path.name}, line {line}, column class",
                problem=f"'{label}'",
                expected=f"one of {', '.join(LABELS)}, the same in every row of an image",
                remedy="Correct the cell",
            )
        classes[row["patientId"]] = label
    return classes


@dataclass(frozen=True)
class _Images:
    """Where the images are and what is known of them: DICOM first, else the NIH file of the id map."""

    root: Path
    dicom: Mapping[str, Path]
    png: Mapping[str, Path]
    nih_names: Mapping[str, str]
    nih_rows: Mapping[str, Mapping[str, str]]

    @classmethod
    def below(cls, root: Path, folder: Path) -> _Images:
        dicom = {path.stem: path for path in files_by_name(root, _FOLDERS, (".dcm",)).values()}
        names = read_origins((folder, root))
        entries = find_optional(root, nih.TABLES) if names else None
        rows = (
            {row["Image Index"]: row for _, row in read_table(entries, columns=("Image Index",)).rows}
            if entries
            else {}
        )
        return cls(root, dicom, nih.image_files(root) if names else {}, names, rows)

    def unlabelled(self, labelled: Container[str]) -> list[str]:
        """Return the DICOM images that no table labels."""
        return [image_id for image_id in self.dicom if image_id not in labelled]

    def about(self, image_id: str) -> dict[str, Any]:
        """Return what a record tells beside the annotations; ``image_path`` is "" when no file is there."""
        nih_name = self.nih_names.get(image_id, "")
        path = self.dicom.get(image_id) or self.png.get(Path(nih_name).stem)
        origin = {"patient_id": f"rsna:{image_id}"}
        if nih_name:
            origin = {
                "patient_id": nih.patient_of(nih_name, f"id map, patientId {image_id}"),
                "source_image": f"nih_chestxray14/{nih_name}",
            }
        if path is not None and path.suffix.lower() == ".dcm":
            tags = patient_tags(path, frame_width=FRAME)
        else:
            tags = nih.about(self.nih_rows.get(nih_name, {}))
        return {"image_path": path.relative_to(self.root).as_posix() if path else "", **origin, **tags}
