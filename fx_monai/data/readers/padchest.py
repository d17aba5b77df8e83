"""PadChest: one table of 160,861 images with Python lists of labels, 16-bit PNGs in numbered folders or in one."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.manifest import Classes
from fx_monai.data.readers.column_table import ColumnTable
from fx_monai.data.readers.files import files_there, find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import MAX_AGE, choice, sex, size, spacing, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.data.table import build_table
from fx_monai.errors import DataError
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="padchest",
        title="PadChest",
        kinds=(Kind.CLASSIFICATION,),
        licence="BIMCV research use agreement, not commercial",
        url="https://bimcv.cipf.es/bimcv-projects/padchest/",
        citation="Bustos et al., PadChest, Med Image Anal 2020",
    ),
)
OPTIONS = ("labeled_by",)

# they tell about the study, not about the patient
META_LABELS = frozenset({"exclude", "suboptimal study", "unchanged"})
NORMAL = "normal"

_TABLES = [f"{folder}PADCHEST*.csv{suffix}" for folder in ("", "*/") for suffix in ("", ".gz")]
_COLUMNS = (
    "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection",
    "Rows_DICOM", "Columns_DICOM", "MethodLabel", "Labels",
)  # fmt: skip
_BLANK = ("", "nan", "NaN", "None")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    The classes are all labels of the table, whole strings without blanks at their ends, in alphabetical order. A label
    that a report doesn't name counts as absent. A row without a label, or with nothing but remarks about the study
    (``exclude``, ``suboptimal study``, ``unchanged``), is unknown.

    Option: ``labeled_by``: ``all`` (the default) or ``physician`` (the labels of a text network are unknown).
    """
    path = find_file(root, _TABLES, what="table PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
    table = ColumnTable(path, columns=_COLUMNS, optional=("SpatialResolution_DICOM",))
    result = ReadResult()
    only_physician = choice(options, "labeled_by", ("all", "physician")) == "physician"
    labels, result.classes = _labels(table, name, result.notes)
    if only_physician:
        labels[table.mapped("MethodLabel", str) != "Physician"] = np.nan
    ids = table.text("ImageID")
    paths, there = _paths(table, root, path.parent)
    result.missing = ids.filter(pa.array(~there)).to_pylist()
    resolution = table.mapped("SpatialResolution_DICOM", _spacing)
    columns = {
        "image_id": ids,
        "image_path": paths,
        "patient_id": pc.binary_join_element_wise("padchest", table.text("PatientID"), ":"),
        "study_id": table.text("StudyID"),
        "view": table.mapped("Projection", view),
        "sex": table.mapped("PatientSex_DICOM", sex),
        "age_years": _ages(table),
        "width": table.mapped("Columns_DICOM", size),
        "height": table.mapped("Rows_DICOM", size),
        "spacing_mm_x": resolution,
        "spacing_mm_y": resolution,
        "source_image": pc.binary_join_element_wise("padchest", ids, "/"),
    }
    result.table = build_table(name, columns, labels)
    return result


def parse_labels(cell: str) -> frozenset[str]:
    """Return the labels of a cell such as ``['cardiomegaly', ' pleural effusion', '']``; none of a blank cell.

    Raises:
        DataError: not a list of strings.
    """
    if cell in _BLANK:
        return frozenset()
    try:
        items = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise DataError(
            where="Labels",
            problem="the cell is no list of labels",
            expected="a list in Python's form, such as ['cardiomegaly', 'pleural effusion']",
            remedy="Download the table again or correct the cell",
        )
    return frozenset(item.strip() for item in items) - {""}


def _labels(table: ColumnTable, name: str, notes: list[str]) -> tuple[NDArray[np.float32], Classes]:
    named = table.mapped("Labels", lambda cell: (parse_labels(cell),))[:, 0]
    classes = Classes(labels=tuple(sorted(set(chain.from_iterable(named)) - META_LABELS)))
    place = {label: number for number, label in enumerate(classes.labels)}
    labels = np.zeros((len(named), len(place)), dtype=np.float32)
    contradictions = 0
    for row, found in enumerate(named):
        chosen = [place[label] for label in found - META_LABELS]
        labels[row, chosen] = 1
        if not chosen:
            labels[row] = np.nan
        contradictions += NORMAL in found and len(chosen) > 1
    unknown = int(sum(not found - META_LABELS for found in named))
    if unknown:
        notes.append(f"{name}: {unknown} rows of {table.path.name} name no finding and not normal; they are unknown")
    if contradictions:
        notes.append(f"{name}: {contradictions} rows of {table.path.name} have normal beside findings; kept as written")
    return labels, classes


def _paths(table: ColumnTable, root: Path, base: Path) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return the path of every image relative to the root and whether it is there, in its folder or in one for all."""
    ids, folders = table.text("ImageID"), table.text("ImageDir")
    nested = pc.binary_join_element_wise(pc.replace_substring_regex(folders, r"\.0$", ""), ids, "/")
    prefix = "" if base == root else f"{base.relative_to(root).as_posix()}/"
    expected = paths = pc.binary_join_element_wise(prefix, nested, "")
    there = np.zeros(len(ids), dtype=bool)
    for folder in (prefix, f"{prefix}images/"):
        for layout in (nested, ids):
            if there.all():
                break
            tried = pc.binary_join_element_wise(folder, layout, "")
            found = files_there(root, tried) & ~there
            paths = pc.if_else(pa.array(found), tried, paths)
            there |= found
    return pc.if_else(pa.array(there), paths, expected), there


def _ages(table: ColumnTable) -> NDArray[np.float64]:
    """Return the study's year less the year of birth; NaN when unknown or implausible."""
    ages = table.mapped("StudyDate_DICOM", _year) - table.mapped("PatientBirth", _year)
    return np.where((ages >= 0) & (ages <= MAX_AGE), ages, np.nan)


def _year(cell: str) -> float:
    return float(cell[:4]) if cell[:4].isdecimal() and len(cell) >= 4 else math.nan


def _spacing(cell: str) -> float:
    try:
        return spacing(float(cell))
    except ValueError:
        return math.nan
