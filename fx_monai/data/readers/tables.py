"""Reading annotation tables, with messages that name file, line and column, and the codings of their cells."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from fx_monai.errors import DataError, check_choice, did_you_mean

MAX_AGE = 120
_MAX_CELL = 2**24
_LABEL_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0, "": math.nan}
_LATERAL_VIEWS = ("L", "LL", "RL", "LAT", "LATERAL")
_OTHER_VIEWS = (
    "LPO", "RPO", "LAO", "RAO", "OBL", "LLD", "RLD", "DECUB", "AXIAL", "LORDOTIC", "COSTAL", "SWIMMERS", "L5",
    "EXCLUDE",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A CSV file as text.

    Args:
        columns: names of the header.
        rows: line of the file, counted from 1, and column -> cell.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_table(path: Path, *, columns: Sequence[str] = (), names: Sequence[str] = ()) -> Table:
    """Read a CSV file as text; names and cells lose blanks at their ends, the file its byte-order mark.

    Empty lines are left out. Fields beyond the header are accepted when they are empty (lines that end with a comma).

    Args:
        path: the file.
        columns: columns that must be there.
        names: column names that replace the first line, for files without a usable header.

    Raises:
        DataError: not a table, a column is missing or stands twice, or a line has too few or too many fields.
    """
    header, rows = stream_table(path, columns=columns, names=names)
    return Table(header, tuple(rows))


def stream_table(
    path: Path, *, columns: Sequence[str] = (), names: Sequence[str] = ()
) -> tuple[tuple[str, ...], Iterator[tuple[int, dict[str, str]]]]:
    """Return the header and the rows of a CSV file (``.gz`` or not) one by one; all else as in :func:`read_table`."""
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise no_table(path.name, "the file is empty")
    header = list(names) or first[1]
    while header and not header[-1]:
        header.pop()
    check_header(path, header, columns)
    return tuple(header), _rows(path, header, lines)


def open_text(path: Path) -> TextIO:
    """Open a text file in UTF-8, packed when its name ends with ``.gz``; a byte-order mark is left out."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    # run lengths of a large mask are one cell
    csv.field_size_limit(max(_MAX_CELL, csv.field_size_limit()))
    try:
        with open_text(path) as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                if any(fields):
                    yield reader.line_num, [cell.strip() for cell in fields]
    except (csv.Error, UnicodeDecodeError, EOFError, OSError) as error:
        raise no_table(path.name, f"not a readable table ({type(error).__name__})") from error


def _rows(
    path: Path, header: Sequence[str], lines: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    for line, fields in lines:
        if len(fields) < len(header) or any(fields[len(header) :]):
            raise no_table(f"{path.name}, line {line}", f"{len(fields)} fields", f"{len(header)} fields")
        yield line, dict(zip(header, fields, strict=False))


def check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a header without the columns that must be there, or with a name that stands twice."""
    for column in columns:
        if column not in header:
            raise DataError(
                where=path.name,
                problem=f"the column '{column}' is missing. {did_you_mean(column, header)}".rstrip(),
                expected=f"the columns {', '.join(columns)}; found {', '.join(header)}",
                remedy="Correct the header",
            )
    twice = [column for column in header if column and header.count(column) > 1]
    if twice:
        raise no_table(path.name, f"the column '{twice[0]}' stands twice", "column names that differ")


def no_table(where: str, problem: str, expected: str = "comma-separated text in UTF-8 with a header") -> DataError:
    """Return the error of a file or row that can't be read as a table."""
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")


def number(text: str, *, path: Path, row: int, column: str) -> float:
    """Return a cell as a number; ``row`` counts the lines of the file from 1.

    Raises:
        DataError: empty, or not a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            where=f"{path.name}, line {row}, column {column}",
            problem=f"'{text}' is not a number",
            expected="a finite number",
            remedy="Correct the cell",
        )
    return value


def label_value(text: str, where: str = "label", remedy: str = "Correct the cell") -> float:
    """Return a label: 1 present, 0 absent, -1 uncertain, NaN for a blank cell (not annotated, not mentioned).

    Raises:
        DataError: anything else.
    """
    if text not in _LABEL_VALUES:
        raise DataError(
            where=where,
            problem=f"'{text}'",
            expected="1 (present), 0 (absent), -1 (uncertain) or blank (not annotated)",
            remedy=remedy,
        )
    return _LABEL_VALUES[text]


def size(text: str) -> int:
    """Return a number of pixels, also from ``1024.0``.

    Raises:
        DataError: not a whole number above 0.
    """
    digits = text.removesuffix(".0")
    if not digits.isdecimal() or int(digits) < 1:
        raise DataError(where="size", problem=f"'{text}'", expected="a number of pixels", remedy="Correct the cell")
    return int(digits)


def choice(options: Mapping[str, str], key: str, choices: Sequence[str]) -> str:
    """Return the value of an option that is one of several words; the first is the default.

    Raises:
        ConfigError: another word.
    """
    value = options.get(key, choices[0]).lower()
    check_choice(value, choices, where=f"option {key}", remedy="Correct the option")
    return value


def words(text: str) -> list[str]:
    """Return the words of an option that lists several, separated by ``|`` or ``,`` (the command line needs ``|``)."""
    return [word.strip() for word in text.replace("|", ",").split(",") if word.strip()]


def age_years(text: str) -> float:
    """Return an age in years from ``58``, ``058Y``, ``7M`` or ``20D``; NaN when absent or above 120."""
    text = text.strip().upper()
    unit = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}.get(text[-1:], 1.0)
    digits = text.rstrip("YMWD")
    if not digits.replace(".", "", 1).isdigit():
        return math.nan
    years = float(digits) * unit
    return years if years <= MAX_AGE else math.nan


def sex(text: str) -> str:
    """Return ``F``, ``M`` or "" from the spellings datasets use."""
    return {"f": "F", "female": "F", "m": "M", "male": "M"}.get(text.strip().lower(), "")


def view(text: str) -> str:
    """Return ``PA``, ``AP``, ``LATERAL``, ``OTHER`` or "" (not told) from the spellings datasets use.

    ``OTHER`` are oblique, decubitus and lordotic views, and what shows no whole chest (ribs, spine, swimmers).
    """
    words = text.strip().upper().replace("_", " ").split()
    if any(word.startswith(_OTHER_VIEWS) for word in words):
        return "OTHER"
    if any(word in _LATERAL_VIEWS for word in words):
        return "LATERAL"
    first = words[0] if words else ""
    if first.startswith(("AP", "ANTEROPOSTERIOR")):
        return "AP"
    return "PA" if first.startswith(("PA", "POSTEROANTERIOR")) else ""


def spacing(value: float) -> float:
    """Return mm per pixel, NaN when absent or absurd (outside 0.01 to 5 mm)."""
    return value if 0.01 <= value <= 5 else math.nan
