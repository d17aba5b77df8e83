"""NIH ChestX-ray14: Data_Entry_2017*.csv, BBox_List_2017.csv, official lists, PNG of 1024 x 1024 (or scaled copies)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fx_monai.data.catalog import NIH_BOXES, NIH_LABELS
from fx_monai.data.manifest import Box, Record
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import (
    age_years,
    files_by_name,
    find_file,
    find_optional,
    number,
    read_table,
    sex,
    spacing,
    view,
)
from fx_monai.errors import DataError

OPTIONS: tuple[str, ...] = ()

FRAME = 1024
IMAGE_FOLDERS = ("images", "images_*/images", "images_*", "png")
_BOX_NAMES = {"Infiltrate": "Infiltration"}
# brackets of the header hold commas, so a CSV parser sees these names
_WIDTH, _HEIGHT = "OriginalImage[Width", "Height]"
_SPACING_X, _SPACING_Y = "OriginalImagePixelSpacing[x", "y]"


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    Image labels come from text mining: a label that isn't named counts as absent. A box class was looked for in an
    image when it is boxed there, or when the image labels say it is absent; images without any box weren't boxed.
    """
    table_path = find_file(root, ("Data_Entry_2017*.csv", "sample_labels.csv"), what="table of image labels")
    table = read_table(table_path, columns=("Image Index", "Finding Labels", "Patient ID"))
    boxes = _read_boxes(root)
    official = _official_split(root)
    images = files_by_name(root, IMAGE_FOLDERS, (".png", ".jpg"))
    result = ReadResult([])
    for line, row in enumerate(table.to_dict("records"), start=2):
        image = row["Image Index"]
        if image not in images:
            result.missing.append(image)
            continue
        labels = _labels(row["Finding Labels"], table_path, line)
        found = boxes.get(image, [])
        boxed = {box.class_index for box in found}
        absent = {i for i, box_name in enumerate(NIH_BOXES) if labels[NIH_LABELS.index(box_name)] == 0}
        result.records.append(
            Record(
                dataset=name,
                image_id=image,
                image_path=str(images[image].relative_to(root)),
                width=FRAME,
                height=FRAME,
                patient_id=patient_of(image),
                view=view(row.get("View Position", "")),
                sex=sex(row.get("Patient Gender", row.get("Patient Sex", ""))),
                age_years=age_years(row.get("Patient Age", "")),
                split=official.get(image, ""),
                spacing_mm_x=_scaled_spacing(row, _SPACING_X, _WIDTH),
                spacing_mm_y=_scaled_spacing(row, _SPACING_Y, _HEIGHT),
                source_image=f"nih_chestxray14/{image}",
                labels=labels,
                boxes=found,
                boxes_annotated=sorted(boxed | absent) if found else [],
            )
        )
    return result


def patient_of(image: str) -> str:
    """Return the namespaced patient of an NIH file name such as ``00000211_013.png``."""
    return f"nih:{int(image.split('_')[0])}"


def _labels(text: str, path: Path, line: int) -> list[float]:
    names = text.split("|")
    unknown = [name for name in names if name not in NIH_LABELS and name != "No Finding"]
    if unknown:
        raise DataError(
            where=f"{path.name}, line {line}, column Finding Labels",
            problem=f"unknown label '{unknown[0]}'",
            expected=f"'No Finding' or some of {', '.join(NIH_LABELS)}, joined by |",
            remedy="Correct the cell",
        )
    return [float(label in names) for label in NIH_LABELS]


def _read_boxes(root: Path) -> dict[str, list[Box]]:
    path = find_optional(root, ("BBox_List_2017.csv",))
    if path is None:
        return {}
    # the header has 9 names for 6 values
    columns = ["image", "label", "x", "y", "w", "h"]
    table = pd.read_csv(path, dtype=str, keep_default_na=False, skiprows=1, header=None, usecols=range(6))
    table.columns = pd.Index(columns)
    boxes: dict[str, list[Box]] = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        label = _BOX_NAMES.get(row["label"], row["label"])
        if label not in NIH_BOXES:
            raise DataError(
                where=f"{path.name}, line {line}",
                problem=f"unknown box class '{row['label']}'",
                expected=", ".join(NIH_BOXES),
                remedy="Correct the cell",
            )
        x, y, w, h = (number(row[key], path=path, row=line, column=key) for key in "xywh")
        boxes.setdefault(row["image"], []).append(Box(x, y, x + w, y + h, NIH_BOXES.index(label)))
    return boxes


def _official_split(root: Path) -> dict[str, str]:
    split = {}
    for file, part in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        path = find_optional(root, (file,))
        if path is not None:
            split.update(dict.fromkeys(path.read_text(encoding="utf-8").split(), part))
    return split


def _scaled_spacing(row: Mapping[Any, str], column: str, size: str) -> float:
    """Original spacing times original size over the frame: the images were resized straight to 1024 x 1024."""
    try:
        return spacing(float(row[column]) * float(row[size]) / FRAME)
    except (KeyError, ValueError):
        return float("nan")
