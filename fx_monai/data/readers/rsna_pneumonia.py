"""RSNA Pneumonia Detection 2018 (Kaggle stage 2): DICOM tree, or the same images as NIH PNGs through an id map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.catalog import RSNA_LABELS
from fx_monai.data.manifest import Box, Record
from fx_monai.data.readers.dicom_tags import patient_tags
from fx_monai.data.readers.nih_chestxray14 import IMAGE_FOLDERS, patient_of
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import (
    age_years,
    files_by_name,
    find_file,
    find_optional,
    number,
    read_table,
    sex,
    view,
)
from fx_monai.errors import DataError

OPTIONS: tuple[str, ...] = ()

FRAME = 1024


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Every labelled image was looked at for opacity boxes; the three labels exclude each other."""
    labels_path = find_file(
        root, ("stage_2_train_labels.csv", "*/stage_2_train_labels.csv"), what="stage_2_train_labels.csv"
    )
    class_path = find_file(
        labels_path.parent, ("stage_2_detailed_class_info.csv",), what="stage_2_detailed_class_info.csv"
    )
    boxes = _read_boxes(labels_path)
    classes = _read_classes(class_path)
    locate = _nih_images(root, labels_path.parent) or _dicom_images(root)
    result = ReadResult([])
    for image_id, found in boxes.items():
        if image_id not in classes:
            raise DataError(
                where=f"{class_path.name}, patientId {image_id}",
                problem="the image has no class row",
                expected=f"one row per image of {labels_path.name}",
                remedy="Download both files of the same stage",
            )
        about = locate(image_id)
        if about is None:
            result.missing.append(image_id)
            continue
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                width=FRAME,
                height=FRAME,
                labels=[float(label == classes[image_id]) for label in RSNA_LABELS],
                boxes=found,
                boxes_annotated=[0],
                **about,
            )
        )
    return result


def _read_boxes(path: Path) -> dict[str, list[Box]]:
    table = read_table(path, columns=("patientId", "x", "y", "width", "height", "Target"))
    boxes: dict[str, list[Box]] = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        found = boxes.setdefault(row["patientId"], [])
        if row["Target"] == "1":
            x, y, w, h = (number(row[key], path=path, row=line, column=key) for key in ("x", "y", "width", "height"))
            found.append(Box(x, y, x + w, y + h, 0))
        elif row["Target"] != "0":
            raise DataError(
                where=f"{path.name}, line {line}, column Target",
                problem=f"'{row['Target']}'",
                expected="0 or 1",
                remedy="Correct the cell",
            )
    return boxes


def _read_classes(path: Path) -> dict[str, str]:
    table = read_table(path, columns=("patientId", "class"))
    classes: dict[str, str] = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        label = row["class"].strip()
        if label not in RSNA_LABELS or classes.get(row["patientId"], label) != label:
            raise DataError(
                where=f"{path.name}, line {line}, column class",
                problem=f"'{label}'",
                expected=f"one of {', '.join(RSNA_LABELS)}, the same in every row of an image",
                remedy="Correct the cell",
            )
        classes[row["patientId"]] = label
    return classes


def _dicom_images(root: Path) -> Callable[[str], dict[str, Any] | None]:
    files = files_by_name(root, ("stage_2_train_images", "*/stage_2_train_images"), (".dcm",))

    def locate(image_id: str) -> dict[str, Any] | None:
        path = files.get(f"{image_id}.dcm")
        if path is None:
            return None
        return {
            "image_path": str(path.relative_to(root)),
            "patient_id": f"rsna:{image_id}",
            **patient_tags(path, frame_width=FRAME),
        }

    return locate


def _nih_images(root: Path, folder: Path) -> Callable[[str], dict[str, Any] | None] | None:
    """Locate images through ``rsna_to_nih.csv``: RSNA images are NIH images."""
    path = find_optional(folder, ("rsna_to_nih.csv",))
    if path is None:
        return None
    source = {
        row["patientId"]: row["nih_image"]
        for row in read_table(path, columns=("patientId", "nih_image")).to_dict("records")
    }
    files = files_by_name(root, IMAGE_FOLDERS, (".png", ".jpg"))
    entries = find_optional(root, ("Data_Entry_2017*.csv",))
    known = {row["Image Index"]: row for row in read_table(entries).to_dict("records")} if entries else {}

    def locate(image_id: str) -> dict[str, Any] | None:
        image = source.get(image_id, "")
        if image not in files:
            return None
        row = known.get(image, {})
        return {
            "image_path": str(files[image].relative_to(root)),
            "patient_id": patient_of(image),
            "source_image": f"nih_chestxray14/{image}",
            "view": view(row.get("View Position", "")),
            "sex": sex(row.get("Patient Gender", row.get("Patient Sex", ""))),
            "age_years": age_years(row.get("Patient Age", "")),
        }

    return locate
