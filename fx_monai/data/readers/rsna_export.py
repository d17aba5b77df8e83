"""RSNA's own export of the pneumonia challenge (MD.ai JSON, images by SOP Instance UID), and maps to NIH file names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box
from fx_monai.data.readers.files import find_optional, read_json
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.tables import read_table
from fx_monai.errors import DataError

LABELS = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
POSITIVE = 2
FRAME = 1024
EXPORT = "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json"
OFFICIAL_MAP = "pneumonia-challenge-dataset-mappings_2018.json"
_TABLES = ("rsna_to_nih.csv", "rsna_to_nih_mapping.csv")
_ADJUDICATED = "Calculated"


def read_export(path: Path) -> tuple[dict[str, list[Box]], dict[str, str]]:
    """Return image -> opacity boxes and image -> label of the adjudicated group; the readers' own are left aside.

    Raises:
        DataError: not such an export, an unknown label, or different labels of one image.
    """
    boxes: dict[str, list[Box]] = {}
    classes: dict[str, str] = {}
    try:
        content = read_json(path)
        group = next(group for group in content["labelGroups"] if group["name"] == _ADJUDICATED)
        names = {label["id"]: label["name"].strip() for label in group["labels"]}
        annotations = [item for dataset in content["datasets"] for item in dataset["annotations"]]
        for item in annotations:
            if item["labelId"] in names:
                _add(item, names[item["labelId"]], boxes, classes, path)
    except (KeyError, TypeError, StopIteration) as error:
        raise _bad(
            path.name, f"not RSNA's export ({type(error).__name__}: {error})", "labelGroups and datasets"
        ) from error
    return boxes, classes


def read_origins(folders: Sequence[Path]) -> dict[str, str]:
    """Return RSNA image -> NIH file name of the first map found: RSNA's own, or a table patientId, nih_image.

    Kaggle's image ids and SOP Instance UIDs both are keys of RSNA's own map.

    Raises:
        DataError: a map that can't be read.
    """
    for folder in folders:
        official = find_optional(folder, (OFFICIAL_MAP,))
        if official:
            return _official(official)
        table = find_optional(folder, _TABLES)
        if table:
            rows = read_table(table, columns=("patientId", "nih_image")).rows
            return {row["patientId"]: row["nih_image"] for _, row in rows}
    return {}


def _official(path: Path) -> dict[str, str]:
    found = {}
    try:
        for entry in read_json(path):
            for key in ("subset_img_id", "SOPInstanceUID"):
                found[str(entry[key])] = str(entry["img_id"])
    except (KeyError, TypeError) as error:
        expected = "entries with img_id, subset_img_id and SOPInstanceUID"
        raise _bad(path.name, f"not RSNA's map ({type(error).__name__}: {error})", expected) from error
    return found


def _add(item: Any, label: str, boxes: dict[str, list[Box]], classes: dict[str, str], path: Path) -> None:
    image = item["SOPInstanceUID"]
    where = f"{path.name}, image {image}"
    if label not in LABELS or classes.setdefault(image, label) != label:
        raise _bad(
            where, f"the label '{label}'", f"one of {', '.join(LABELS)}, the same in every annotation of an image"
        )
    found = boxes.setdefault(image, [])
    if label == LABELS[POSITIVE]:
        x, y, w, h = (float(item["data"][key]) for key in ("x", "y", "width", "height"))
        found.append(frame_box((x, y, x + w, y + h), 0, (FRAME, FRAME), where=where))


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again")
