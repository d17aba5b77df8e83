"""Annotation tables of 100,000 rows and more, read as columns; messages name file, row and column."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from fx_monai.data.readers.tables import check_header, label_value, no_table, open_text
from fx_monai.errors import DataError


class ColumnTable:
    """A CSV file (``.gz`` or not) as columns of text without blanks at their ends; cells may hold line breaks.

    Args:
        path: the file.
        columns: columns that must be there.
        optional: columns that are read where they are there; all others are skipped.

    Raises:
        DataError: not a table, a column is missing or stands twice, or a row has too few or too many fields.
    """

    def __init__(self, path: Path, *, columns: Sequence[str], optional: Sequence[str] = ()) -> None:
        self.path = path
        header = _header(path)
        check_header(path, header, columns)
        self.columns = tuple(name for name in (*columns, *optional) if name in header)
        try:
            self._table = pa.csv.read_csv(
                path,
                # one thread, so that a broken row is told by its number
                pa.csv.ReadOptions(
                    use_threads=False, skip_rows=1, column_names=[n or f"unnamed {i}" for i, n in enumerate(header)]
                ),
                pa.csv.ParseOptions(newlines_in_values=True),
                pa.csv.ConvertOptions(
                    include_columns=list(self.columns),
                    column_types=dict.fromkeys(self.columns, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, OSError, EOFError) as error:
            # the text of the error holds the row, and with it what tells about patients
            row = re.search(r"Row #(\d+)", str(error))
            where = f"{path.name}, row {row[1]}" if row else path.name
            raise no_table(where, f"not a readable table of {len(header)} columns ({type(error).__name__})") from None

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def text(self, column: str) -> pa.Array:
        """Return a column; blank where the table hasn't it."""
        if column not in self.columns:
            return pa.array([""], pa.string()).take(pa.array(np.zeros(len(self), np.int32)))
        return pc.utf8_trim_whitespace(self._table.column(column)).combine_chunks()

    def mapped(self, column: str, meaning: Callable[[str], Any]) -> NDArray[Any]:
        """Return what every cell of a column means; ``meaning`` is asked once per different cell.

        Raises:
            DataError: of ``meaning``; file, row and column are put in front of its place.
        """
        cells = self.text(column).dictionary_encode()
        values = []
        for number, cell in enumerate(cells.dictionary.to_pylist()):
            try:
                values.append(meaning(cell))
            except DataError as error:
                row = int(np.flatnonzero(np.asarray(cells.indices) == number)[0])
                raise DataError(
                    where=f"{self.where(row)}, column {column}",
                    problem=error.problem,
                    expected=error.expected,
                    remedy=error.remedy,
                ) from error
        codes = np.asarray(cells.indices)
        return np.asarray(values)[codes] if values else np.zeros(0)

    def where(self, row: int) -> str:
        """Return file and row for a message; the header is row 1."""
        return f"{self.path.name}, row {row + 2}"


def label_columns(table: ColumnTable, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the labels of columns chosen by name, (rows, classes): 1, 0, -1 uncertain, NaN not mentioned."""
    return np.stack([table.mapped(name, label_value).astype(np.float32) for name in names], axis=1)


def _header(path: Path) -> list[str]:
    try:
        with open_text(path) as file:
            names = next(csv.reader(file), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise no_table(path.name, f"not a readable table ({type(error).__name__})") from error
    if not any(names):
        raise no_table(path.name, "the file is empty")
    return [name.strip() for name in names]
