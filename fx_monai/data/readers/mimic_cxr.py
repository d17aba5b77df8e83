"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (or the DICOM set with its label tables): tables of studies, images and the split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.manifest import Classes
from fx_monai.data.readers.column_table import ColumnTable, label_columns
from fx_monai.data.readers.files import files_there, find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import choice, size, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.data.table import build_table
from fx_monai.errors import DataError
from fx_monai.types import Kind

# in the order of the tables, which is not CheXpert's
LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
SPECS = (
    DatasetSpec(
        name="mimic_cxr",
        title="MIMIC-CXR-JPG",
        kinds=(Kind.CLASSIFICATION,),
        licence="PhysioNet credentialed: CITI training, data use agreement",
        url="https://physionet.org/content/mimic-cxr-jpg/",
        citation="Johnson et al., MIMIC-CXR-JPG, arXiv 1901.07042; Sci Data 2019",
        classes=Classes(labels=LABELS),
    ),
)
OPTIONS = ("labeler", "test_labels")

_FOLDERS = ("", "*/", "*/*/")
_SPLITS = {"train": "train", "validate": "val", "test": "test", "": ""}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    Labels are a study's; each of its images has them, laterals too. A study without a label row is unknown.

    Options: ``labeler`` (``chexpert``, the default, or ``negbio``), ``test_labels`` (``text``, the default, or
    ``radiologist``: the readings of release 2.1.0 in place of the text labels, for the studies that have them).
    """
    images = ColumnTable(
        _find(root, "mimic-cxr-2.0.0-metadata.csv"),
        columns=("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns"),
    )
    split = ColumnTable(_find(root, "mimic-cxr-2.0.0-split.csv"), columns=("dicom_id", "split"))
    labeler = choice(options, "labeler", ("chexpert", "negbio"))
    tables = [_find(root, f"mimic-cxr-2.0.0-{labeler}.csv")]
    if choice(options, "test_labels", ("text", "radiologist")) == "radiologist":
        tables.append(_find(root, "mimic-cxr-2.1.0-test-set-labeled.csv"))
    studies = images.text("study_id")
    labels = np.full((len(images), len(LABELS)), np.nan, dtype=np.float32)
    for path in tables:
        rated = ColumnTable(path, columns=("study_id", *LABELS))
        rows = _rows_of(rated, "study_id", studies)
        labels[rows >= 0] = label_columns(rated, LABELS)[rows[rows >= 0]]
    result = ReadResult()
    without = int(np.isnan(labels).all(axis=1).sum())
    if without:
        result.notes.append(f"{name}: {without} images have no label in {tables[0].name}; their labels are unknown")
    paths, there = _paths(images, images.path.parent, root)
    ids = images.text("dicom_id")
    result.missing = ids.filter(pa.array(~there)).to_pylist()
    rows = _rows_of(split, "dicom_id", ids)
    parts = np.append(split.mapped("split", _split), "")[rows]
    columns = {
        "image_id": ids,
        "image_path": paths,
        "source_image": pc.binary_join_element_wise("mimic_cxr", ids, "/"),
        "patient_id": pc.binary_join_element_wise("mimic", images.text("subject_id"), ":"),
        "study_id": studies,
        "view": images.mapped("ViewPosition", view),
        "split": parts,
        "width": images.mapped("Columns", size),
        "height": images.mapped("Rows", size),
    }
    result.table = build_table(name, columns, labels)
    return result


def _find(root: Path, name: str) -> Path:
    """Return a table, packed or not, in the root or at most two folders below (PhysioNet's own folders)."""
    return find_file(root, [f"{folder}{name}{suffix}" for folder in _FOLDERS for suffix in ("", ".gz")], what=name)


def _rows_of(table: ColumnTable, column: str, wanted: pa.Array) -> NDArray[np.int64]:
    """Return the row of every wanted id in a table, -1 where it isn't there.

    Raises:
        DataError: an id stands twice.
    """
    ids = table.text(column)
    if len(ids.unique()) != len(ids):
        raise DataError(
            where=f"{table.path.name}, column {column}",
            problem=f"{len(ids) - len(ids.unique())} ids stand more than once",
            expected="one row per id",
            remedy="Download the file again",
        )
    return np.asarray(pc.fill_null(pc.index_in(wanted, value_set=ids), -1), dtype=np.int64)


def _paths(images: ColumnTable, base: Path, root: Path) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return the path of every image relative to the root, and whether it is there: as JPEG, else as DICOM."""
    prefix = base.relative_to(root).as_posix()
    subjects, studies = images.text("subject_id"), images.text("study_id")
    folder = pc.binary_join_element_wise(
        "files" if prefix == "." else f"{prefix}/files",
        pc.binary_join_element_wise("p", pc.utf8_slice_codeunits(subjects, 0, 2), ""),
        pc.binary_join_element_wise("p", subjects, ""),
        pc.binary_join_element_wise("s", studies, ""),
        images.text("dicom_id"),
        "/",
    )
    jpegs, dicoms = (pc.binary_join_element_wise(folder, suffix, "") for suffix in (".jpg", ".dcm"))
    there = files_there(root, jpegs)
    if there.all():
        return jpegs, there
    as_dicom = files_there(root, dicoms) & ~there
    return pc.if_else(pa.array(as_dicom), dicoms, jpegs), there | as_dicom


def _split(cell: str) -> str:
    if cell not in _SPLITS:
        raise DataError(where="split", problem=f"'{cell}'", expected=", ".join(_SPLITS), remedy="Correct the cell")
    return _SPLITS[cell]
