"""Reading annotation tables, with messages that name file, line and column, and the codings of their cells."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fx_monai.errors import DataError, did_you_mean

MAX_AGE = 120


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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in fields]) for fields in reader if any(fields)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise _no_table(path.name, f"not a readable table ({error})") from error
    if not lines:
        raise _no_table(path.name, "the file is empty")
    header = list(names) or lines[0][1]
    while header and not header[-1]:
        header.pop()
    _check_header(path, header, columns)
    for line, fields in lines[1:]:
        if len(fields) < len(header) or any(fields[len(header) :]):
            raise _no_table(f"{path.name}, line {line}", f"{len(fields)} fields", f"{len(header)} fields")
    return Table(tuple(header), tuple((line, dict(zip(header, fields, strict=False))) for line, fields in lines[1:]))


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
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
        raise _no_table(path.name, f"the column '{twice[0]}' stands twice", "column names that differ")


def _no_table(where: str, problem: str, expected: str = "comma-separated text in UTF-8 with a header") -> DataError:
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
    """Return ``PA``, ``AP``, ``LATERAL`` or "" from the spellings datasets use."""
    word = text.strip().upper().replace("_", " ")
    if word.startswith(("AP", "ANTEROPOSTERIOR")):
        return "AP"
    if word.startswith(("PA", "POSTEROANTERIOR")):
        return "PA"
    return "LATERAL" if word in ("L", "LL", "RL", "LAT", "LATERAL") else ""


def spacing(value: float) -> float:
    """Return mm per pixel, NaN when absent or absurd (outside 0.01 to 5 mm)."""
    return value if 0.01 <= value <= 5 else math.nan
