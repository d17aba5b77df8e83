"""Four findings of NIH images, read again by radiologists for Google: one table, or one per set, and the NIH images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.readers import nih_chestxray14 as nih
from fx_monai.data.readers.files import find_file, find_optional
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")

SPECS = (
    DatasetSpec(
        name="nih_google",
        title="Google's labels of NIH ChestX-ray14 (four findings)",
        kinds=(Kind.CLASSIFICATION,),
        licence="labels: see the page; images as NIH ChestX-ray14",
        url="https://cloud.google.com/healthcare-api/docs/resources/public-datasets/nih-chest",
        citation="Majkowska et al., Chest Radiograph Interpretation with Deep Learning Models, Radiology 2020",
        classes=Classes(labels=LABELS),
    ),
)

OPTIONS: tuple[str, ...] = ()

_T = TypeVar("_T")
_TABLE = "google2019_nih-chest-xray-labels.csv"
_ANSWERS = {"YES": 1.0, "NO": 0.0, "": float("nan")}
_SPLITS = {"val": "val", "validation": "val", "test": "test", "": ""}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tables beside or below the NIH images; patient and source are NIH's. There is no training set.

    Files: ``google2019_nih-chest-xray-labels.csv`` (column Set Id), or ``validation_labels.csv`` and
    ``test_labels.csv`` in ``four_findings_expert_labels``.
    """
    whole = find_optional(root, (_TABLE, f"*/{_TABLE}"))
    tables = {"": whole} if whole else {part: _part(root, part) for part in ("validation", "test")}
    images = nih.image_files(root)
    result = ReadResult([])
    for part, path in tables.items():
        for line, row in read_table(path, columns=("Image Index", *LABELS)).rows:
            where, image = f"{path.name}, line {line}", row["Image Index"]
            file = images.get(Path(image).stem)
            if file is None:
                result.missing.append(image)
            split = _value(_SPLITS, row.get("Set Id", part).lower(), where, "Set Id", "val or test")
            result.records.append(
                Record(
                    dataset=name,
                    image_id=image,
                    image_path=file.relative_to(root).as_posix() if file else f"images/{image}",
                    width=nih.FRAME,
                    height=nih.FRAME,
                    patient_id=nih.patient_of(image, where),
                    split=split,
                    source_image=f"nih_chestxray14/{image}",
                    labels=[_value(_ANSWERS, row[label].upper(), where, label, "YES, NO or blank") for label in LABELS],
                    **nih.about(row),
                )
            )
    return result


def _part(root: Path, part: str) -> Path:
    file = f"{part}_labels.csv"
    return find_file(root, (f"four_findings_expert_labels/{file}", f"*/{file}", file), what=f"{_TABLE} or {file}")


def _value(values: Mapping[str, _T], text: str, where: str, column: str, expected: str) -> _T:
    if text not in values:
        raise DataError(
            where=f"{where}, column {column}", problem=f"'{text}'", expected=expected, remedy="Correct the cell"
        )
    return values[text]
