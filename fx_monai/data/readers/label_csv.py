"""Any folder with a table of labels: one row per image, one column per label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import ImageFolder, find_only
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import Table, age_years, choice, label_value, read_table, sex, view, words
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError, did_you_mean
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="csv",
        title="any folder with a table of labels",
        kinds=(Kind.CLASSIFICATION,),
        licence="yours",
        url="",
        citation="",
    ),
)

OPTIONS = ("table", "images", "label_columns", "exclusive", "namespace")

_IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_id")
_OTHER_COLUMNS = ("patient_id", "study_id", "view", "sex", "age", "split")

_REMEDY = "Correct the cell, or choose the label columns with the option label_columns"


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the table.

    Columns: one of image, path, file, filename, file_name, image_id (file name, with or without folders and suffix);
    optional patient_id, study_id, view, sex, age, split; every other column is a label with 1, 0, -1 (uncertain) or
    blank (not annotated), unless all its cells are words. The annotation frame is the image file's own size.

    Options: ``table`` (file; default the only CSV in the root), ``images`` (folder; default ``images`` if there is
    one, else the root with all sub-folders), ``label_columns`` (separated by ``|`` or ``,``), ``exclusive``
    (``true``: exactly one label holds per image), ``namespace`` (of patient ids; default: the dataset's name).
    """
    path = find_only(root, options.get("table", "*.csv"), what="table of labels", option="table")
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
    others = {by_lower[c] for c in (*_IMAGE_COLUMNS, *_OTHER_COLUMNS) if c in by_lower}
    result = ReadResult([])
    chosen = _label_columns(table, others, options.get("label_columns", ""), path, result.notes)
    result.classes = Classes(labels=chosen, exclusive_labels=choice(options, "exclusive", ("false", "true")) == "true")
    folder = ImageFolder(root, options.get("images", ""))
    namespace = options.get("namespace", name)
    strangers = 0
    for line, row in table.rows:
        where = f"{path.name}, line {line}"
        labels = [label_value(row[column], f"{where}, column {column}", _REMEDY) for column in chosen]
        if result.classes.exclusive_labels and (labels.count(1), labels.count(0)) != (1, len(chosen) - 1):
            raise DataError(
                where=where,
                problem=f"{labels.count(1)} labels hold",
                expected="exactly one label with 1 and the others with 0, as the option exclusive says",
                remedy="Correct the row, or leave the option out",
            )
        if not row[image_column]:
            raise DataError(
                where=f"{where}, column {image_column}",
                problem="the cell is blank",
                expected="the name of an image file",
                remedy="Correct the cell or remove the row",
            )
        file = folder.find(row[image_column], where=where)
        image_id = folder.image_id(file)
        if not folder.holds(file):
            result.missing.append(image_id)
        width, height = size_or_unknown(file)
        cells = {c: row[by_lower[c]] for c in _OTHER_COLUMNS if c in by_lower}
        strangers += not cells.get("patient_id")
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=str(file.relative_to(root)),
                width=width,
                height=height,
                patient_id=f"{namespace}:{cells.get('patient_id') or f'image:{image_id}'}",
                study_id=cells.get("study_id", ""),
                view=view(cells.get("view", "")),
                sex=sex(cells.get("sex", "")),
                age_years=age_years(cells.get("age", "")),
                split=_split(cells.get("split", ""), where),
                labels=labels,
            )
        )
    if strangers:
        result.notes.append(f"{path.name}: {strangers} images tell no patient; each counts as a patient of its own")
    return result


def _label_columns(table: Table, others: set[str], option: str, path: Path, notes: list[str]) -> tuple[str, ...]:
    candidates = [column for column in table.columns if column not in others]
    chosen = words(option)
    for column in chosen:
        if column not in table.columns:
            raise DataError(
                where=path.name,
                problem=f"there is no label column '{column}'. {did_you_mean(column, candidates)}".rstrip(),
                expected=f"some of {', '.join(candidates)}",
                remedy="Correct the option label_columns",
            )
    if not chosen:
        texts = [column for column in candidates if _holds_words(row[column] for _, row in table.rows)]
        if texts:
            notes.append(f"{path.name}: the columns {', '.join(texts)} hold words and were not read as labels")
        chosen = [column for column in candidates if column not in texts]
    if not chosen:
        raise DataError(
            where=path.name,
            problem=f"no column holds labels; found {', '.join(table.columns)}",
            expected="columns with 1 (present), 0 (absent), -1 (uncertain) or blank (not annotated)",
            remedy="Add a column per label",
        )
    return tuple(chosen)


def _holds_words(cells: Iterable[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and not any(_is_number(cell) for cell in filled)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _split(text: str, where: str) -> str:
    word = {"valid": "val", "validation": "val"}.get(text.lower(), text.lower())
    if word not in ("", "train", "val", "test"):
        raise DataError(
            where=f"{where}, column split",
            problem=f"'{text}'",
            expected="train, val, test or blank",
            remedy="Correct the cell",
        )
    return word
