"""Any folder with a table of labels: one row per image, one column per label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.pixels import IMAGE_SUFFIXES, image_size
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, files_by_name, find_file, read_table, sex, view
from fx_monai.errors import DataError

OPTIONS = ("table", "images", "label_columns", "exclusive", "namespace", "dataset")

_IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_id")
_OTHER_COLUMNS = ("patient_id", "study_id", "view", "sex", "age", "split")
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0, "": float("nan")}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the table.

    Columns: one of image, path, file, filename, file_name, image_id (file name, with or without folders); optional
    patient_id, study_id, view, sex, age, split; every other column is a label with 1, 0, -1 (uncertain) or
    blank (not annotated). Options: ``table`` (file; default the only CSV), ``images`` (folder), ``label_columns``
    (names joined by ``|``), ``exclusive`` (``true``: exactly one label holds), ``namespace`` (of patient ids).
    """
    path = find_file(root, (options.get("table", "*.csv"),), what="table of labels")
    table = read_table(path)
    by_lower = {column.lower(): column for column in table.columns}
    image_column = next((by_lower[c] for c in _IMAGE_COLUMNS if c in by_lower), None)
    if image_column is None:
        raise DataError(
            where=path.name,
            problem=f"no column names the images; found {', '.join(table.columns)}",
            expected=f"one of {', '.join(_IMAGE_COLUMNS)}",
            remedy="Rename the column",
        )
    others = {by_lower[c] for c in _OTHER_COLUMNS if c in by_lower} | {image_column}
    chosen = list(filter(None, options.get("label_columns", "").split("|"))) or [
        column for column in table.columns if column not in others
    ]
    for column in chosen:
        if column not in table.columns:
            raise DataError(
                where=path.name,
                problem=f"there is no label column '{column}'",
                expected=f"some of {', '.join(c for c in table.columns if c not in others)}",
                remedy="Correct the option label_columns",
            )
    files = files_by_name(root, (options.get("images", "images"),), IMAGE_SUFFIXES)
    namespace = options.get("namespace", name)
    result = ReadResult(
        [], classes=Classes(labels=tuple(chosen), exclusive_labels=options.get("exclusive", "") == "true")
    )
    for line, row in enumerate(table.to_dict("records"), start=2):
        file = Path(row[image_column]).name
        if file not in files:
            result.missing.append(file)
            continue
        width, height = image_size(files[file])
        cells = {c: row[by_lower[c]] for c in _OTHER_COLUMNS if c in by_lower}
        patient = cells.get("patient_id") or f"image:{file}"
        result.records.append(
            Record(
                dataset=name,
                image_id=file,
                image_path=str(files[file].relative_to(root)),
                width=width,
                height=height,
                patient_id=f"{namespace}:{patient}",
                study_id=cells.get("study_id", ""),
                view=view(cells.get("view", "")),
                sex=sex(cells.get("sex", "")),
                age_years=age_years(cells.get("age", "")),
                split=_split(cells.get("split", ""), path, line),
                labels=[_value(row[column], path, line, column) for column in chosen],
            )
        )
    return result


def _value(text: str, path: Path, line: int, column: str) -> float:
    if text.strip() not in _VALUES:
        raise DataError(
            where=f"{path.name}, line {line}, column {column}",
            problem=f"'{text}'",
            expected="1 (present), 0 (absent), -1 (uncertain) or blank (not annotated)",
            remedy="Correct the cell, or choose the label columns with the option label_columns",
        )
    return _VALUES[text.strip()]


def _split(text: str, path: Path, line: int) -> str:
    word = {"valid": "val", "validation": "val"}.get(text.strip().lower(), text.strip().lower())
    if word not in ("", "train", "val", "test"):
        raise DataError(
            where=f"{path.name}, line {line}, column split",
            problem=f"'{text}'",
            expected="train, val, test or blank",
            remedy="Correct the cell",
        )
    return word
