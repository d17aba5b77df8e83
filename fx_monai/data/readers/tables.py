"""Reading annotation tables and finding files, with messages that name file, row and column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fx_monai.errors import DataError, did_you_mean

MAX_AGE = 120


def find_file(root: Path, names: Sequence[str], *, what: str) -> Path:
    """Return the first of several relative paths (glob patterns allowed) that exists below the root.

    Raises:
        DataError: none is there.
    """
    found = find_optional(root, names)
    if found is None:
        raise DataError(
            where=str(root),
            problem=f"there is no {what}",
            expected=" or ".join(names),
            remedy="Give the folder as it was downloaded and unpacked",
        )
    return found


def find_optional(root: Path, names: Sequence[str]) -> Path | None:
    """Return the first of several relative paths (glob patterns allowed) that exists below the root, or None."""
    for name in names:
        for path in sorted(root.glob(name)):
            if path.is_file():
                return path
    return None


def read_table(path: Path, *, columns: Sequence[str] = (), header: int | None = 0, names: Any = None) -> pd.DataFrame:
    """Read a CSV file as text; column names lose blanks and a byte-order mark, missing cells are "".

    Args:
        path: the file.
        columns: columns that must be there.
        header: row of the header, None with ``names``.
        names: column names for files without a usable header.

    Raises:
        DataError: not a table, or a column is missing.
    """
    try:
        table = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            header=header,
            names=names,
            index_col=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(
            where=path.name,
            problem=f"not a readable table ({type(error).__name__})",
            expected="comma-separated text in UTF-8",
            remedy="Download the file again or correct it",
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    for column in columns:
        if column not in table.columns:
            raise DataError(
                where=path.name,
                problem=f"the column '{column}' is missing. {did_you_mean(column, table.columns)}".rstrip(),
                expected=f"the columns {', '.join(columns)}; found {', '.join(table.columns)}",
                remedy="Correct the header",
            )
    return table


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


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            where=path.name,
            problem=f"not JSON ({error})",
            expected="a JSON file in UTF-8",
            remedy="Download the file again or correct it",
        ) from error


def files_by_name(root: Path, folders: Sequence[str], suffixes: Iterable[str]) -> dict[str, Path]:
    """Return file name -> path for the image files in the folders (glob patterns); the first folder wins.

    When none of the folders exists, every folder below the root is searched.
    """
    wanted = {suffix.lower() for suffix in suffixes}
    found: dict[str, Path] = {}
    existing = [folder for pattern in folders for folder in sorted(root.glob(pattern)) if folder.is_dir()]
    for folder in existing or [root]:
        paths = folder.iterdir() if existing else folder.rglob("*")
        for path in sorted(paths):
            if path.suffix.lower() in wanted:
                found.setdefault(path.name, path)
    return found
