"""Columns of a manifest as arrays: what a million rows are asked for without making a Python object of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_BATCH = 4096


@dataclass(frozen=True)
class Ragged:
    """Lists of different length, one per row, end to end.

    Args:
        offsets: (rows + 1,); the items of row i stand at ``offsets[i] : offsets[i + 1]``.
        items: all items, as an Arrow array.
    """

    offsets: NDArray[np.int64]
    items: pa.ChunkedArray

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of items of every row."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of every item."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def field(self, name: str) -> pa.ChunkedArray:
        """Return one field of the items."""
        return pc.struct_field(self.items, name)


def ragged(table: pa.Table, name: str) -> Ragged:
    """Return a list column; null counts as empty."""
    column = table.column(name)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
    return Ragged(np.concatenate([[0], np.cumsum(lengths)]), pc.list_flatten(column))


def label_matrix(table: pa.Table, width: int) -> NDArray[np.float32]:
    """Return the image-level labels, (rows, width); a row without labels is NaN (not annotated)."""
    lists = ragged(table, "labels")
    values = np.asarray(lists.items, dtype=np.float32)
    if len(values) == table.num_rows * width:
        return values.reshape(table.num_rows, width)
    matrix = np.full((table.num_rows, width), np.nan, dtype=np.float32)
    matrix[lists.lengths > 0] = values.reshape(-1, width)
    return matrix


def membership(table: pa.Table, name: str, classes: int) -> NDArray[np.bool_]:
    """Return whether each class stands in a row's list of class indices, (rows, classes)."""
    lists = ragged(table, name)
    found = np.zeros((table.num_rows, classes), dtype=bool)
    found[lists.rows, np.asarray(lists.items, dtype=np.int64)] = True
    return found


def present(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return whether a row's list holds anything."""
    return ragged(table, name).lengths > 0


def release_unused_memory() -> None:
    """Give back what Arrow keeps for later after a large computation: as much as a whole manifest again."""
    pa.default_memory_pool().release_unused()


def hash_table(table: pa.Table, digest: Any) -> None:
    """Feed a table to a hash (``hashlib``), whatever the chunks it came in."""
    with pa.ipc.new_stream(pa.PythonFile(_HashWriter(digest), mode="w"), table.schema) as stream:
        for start in range(0, table.num_rows, _BATCH):
            batch = table.slice(start, _BATCH).combine_chunks()
            for item in batch.to_batches():
                stream.write_batch(item)


class _HashWriter:
    """A file that only feeds a hash."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
