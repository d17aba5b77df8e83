"""NIH ChestX-ray14: Data_Entry_2017*.csv, BBox_List_2017.csv, official lists, PNG of 1024 x 1024 (or scaled copies)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Record
from fx_monai.data.readers.files import files_by_name, find_file, find_optional
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, number, read_table, sex, spacing, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
BOXES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
)  # fmt: skip
SPECS = (
    DatasetSpec(
        name="nih_chestxray14",
        title="NIH ChestX-ray14",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="no use restriction, attribution",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        citation="Wang et al., ChestX-ray8, CVPR 2017",
        classes=Classes(labels=LABELS, boxes=BOXES),
    ),
)

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
_IMAGE_FOLDERS = ("images", "images_*/images", "images_*", "png", "dicom", "*/images", "*/images_*/images")
# of two versions in one folder the later one, which has the corrected ages
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv", "sample_labels.csv")
_BOX_NAMES = {"Infiltrate": "Infiltration"}
# brackets of the header hold commas, so a CSV parser sees the first names; the second ones are the older sample's
_WIDTH, _HEIGHT = ("OriginalImage[Width", "OriginalImageWidth"), ("Height]", "OriginalImageHeight")
_SPACING_X = ("OriginalImagePixelSpacing[x", "OriginalImagePixelSpacing_x")
_SPACING_Y = ("y]", "OriginalImagePixelSpacing_y")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    Image labels come from text mining: a label that isn't named counts as absent. A box class was looked for in an
    image when it is boxed there, or when the image labels say it is absent; images without any box weren't boxed.
    """
    path = find_file(root, TABLES, what="table of image labels")
    boxes = read_boxes(root)
    official, absent = _official_split(root)
    images = image_files(root)
    result = ReadResult([])
    for line, row in read_table(path, columns=("Image Index", "Finding Labels", "Patient ID")).rows:
        image = row["Image Index"]
        where = f"{path.name}, line {line}"
        labels = parse_labels(row["Finding Labels"], where)
        found = boxes.pop(image, [])
        file = images.get(Path(image).stem)
        if file is None:
            result.missing.append(image)
        result.records.append(
            Record(
                dataset=name,
                image_id=image,
                image_path=file.relative_to(root).as_posix() if file else f"images/{image}",
                width=FRAME,
                height=FRAME,
                patient_id=patient_of(image, where),
                split=official.get(image, ""),
                source_image=f"nih_chestxray14/{image}",
                labels=labels,
                boxes=found,
                boxes_annotated=_looked_for(labels, found),
                **about(row),
            )
        )
    if absent:
        result.notes.append(
            f"{name}: there is no {' and no '.join(absent)}; that part of the official split is unknown"
        )
    if boxes:
        result.notes.append(f"{name}: {len(boxes)} images of BBox_List_2017.csv are not in {path.name}; left out")
    return result


def image_files(root: Path) -> dict[str, Path]:
    """Return file name without suffix -> path; PNG comes before DICOM and scaled copies as JPEG."""
    found: dict[str, Path] = {}
    for suffix in (".png", ".dcm", ".jpg"):
        for path in files_by_name(root, _IMAGE_FOLDERS, (suffix,)).values():
            found.setdefault(path.stem, path)
    return found


def patient_of(image: str, where: str) -> str:
    """Return the namespaced patient of an NIH file name such as ``00000211_013.png``.

    Raises:
        DataError: not such a name.
    """
    match = re.fullmatch(r"(\d+)_\d+\.\w+", image)
    if match is None:
        raise DataError(
            where=where,
            problem=f"'{image}' is not an NIH file name",
            expected="<patient>_<follow-up>.png, both numbers",
            remedy="Correct the cell",
        )
    return f"nih:{int(match[1])}"


def about(row: Mapping[str, str]) -> dict[str, Any]:
    """Return view, sex, age and pixel spacing of the 1024 x 1024 frame from a row of the label table."""
    return {
        "view": view(row.get("View Position", "")),
        "sex": sex(row.get("Patient Gender", row.get("Patient Sex", ""))),
        "age_years": age_years(row.get("Patient Age", "")),
        "spacing_mm_x": _scaled_spacing(row, _SPACING_X, _WIDTH),
        "spacing_mm_y": _scaled_spacing(row, _SPACING_Y, _HEIGHT),
    }


def parse_labels(text: str, where: str) -> list[float]:
    """Return 1 or 0 per label from a cell such as ``Effusion|Mass`` or ``No Finding``.

    Raises:
        DataError: an unknown label, or No Finding beside a finding.
    """
    names = text.split("|")
    unknown = [name for name in names if name not in LABELS and name != "No Finding"]
    if unknown or ("No Finding" in names and len(names) > 1):
        raise DataError(
            where=f"{where}, column Finding Labels",
            problem=f"unknown label '{unknown[0]}'" if unknown else f"'{text}'",
            expected=f"'No Finding' alone or some of {', '.join(LABELS)}, joined by |",
            remedy="Correct the cell",
        )
    return [float(label in names) for label in LABELS]


def read_boxes(root: Path) -> dict[str, list[Box]]:
    """Return image -> boxes of ``BBox_List_2017.csv``; nothing when the file isn't there."""
    path = find_optional(root, ("BBox_List_2017*.csv",))
    boxes: dict[str, list[Box]] = {}
    if path is None:
        return boxes
    # the header has 9 names for 6 values
    for line, row in read_table(path, names=("image", "label", "x", "y", "w", "h")).rows:
        where = f"{path.name}, line {line}"
        label = _BOX_NAMES.get(row["label"], row["label"])
        if label not in BOXES:
            raise DataError(
                where=where,
                problem=f"unknown box class '{row['label']}'",
                expected=", ".join(BOXES),
                remedy="Correct the cell",
            )
        x, y, w, h = (number(row[key], path=path, row=line, column=key) for key in "xywh")
        box = frame_box((x, y, x + w, y + h), BOXES.index(label), (FRAME, FRAME), where=f"{where}, {row['image']}")
        boxes.setdefault(row["image"], []).append(box)
    return boxes


def _looked_for(labels: Sequence[float], boxes: Sequence[Box]) -> list[int]:
    if not boxes:
        return []
    absent = {i for i, box_name in enumerate(BOXES) if labels[LABELS.index(box_name)] == 0}
    return sorted(absent | {box.class_index for box in boxes})


def _official_split(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return image -> part, and the lists that aren't there."""
    split: dict[str, str] = {}
    absent = []
    for file, part in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        path = find_optional(root, (file,))
        if path is None:
            absent.append(file)
        else:
            split.update(dict.fromkeys(path.read_text(encoding="utf-8").split(), part))
    return split, absent


def _scaled_spacing(row: Mapping[str, str], columns: Sequence[str], sizes: Sequence[str]) -> float:
    """Original spacing times original size over the frame: the images were resized straight to 1024 x 1024."""
    for column, size in zip(columns, sizes, strict=True):
        if column in row and size in row:
            try:
                original = spacing(float(row[column]))
                return spacing(original * float(row[size]) / FRAME)
            except ValueError:
                return math.nan
    return math.nan
