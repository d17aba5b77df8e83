"""Manifest rows built column by column, for sets whose annotations are tables of 100,000 rows and more.

A Python object per image costs time and memory; here a column is one array from the CSV file to the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.manifest import SCHEMA
from fx_monai.errors import DataError


def build_table(dataset: str, columns: Mapping[str, Any], labels: NDArray[np.float32] | None = None) -> pa.Table:
    """Return rows in the manifest's schema; columns that aren't given are unknown or empty.

    Args:
        dataset: name of the dataset.
        columns: ``image_id``, ``image_path`` and any other column without lists: Arrow or NumPy arrays of one length.
        labels: (rows, classes), coded as in the manifest.

    Raises:
        DataError: an image id stands twice.
    """
    rows = len(columns["image_id"])
    given = {**columns, "dataset": pa.array([dataset], pa.string()).take(pa.array(np.zeros(rows, np.int32)))}
    if labels is not None:
        offsets = np.arange(rows + 1, dtype=np.int32) * labels.shape[1]
        given["labels"] = pa.ListArray.from_arrays(offsets, labels.reshape(-1).astype(np.float32))
    arrays = [_cast(given[f.name], f.type) if f.name in given else _empty(f.type, rows) for f in SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    _check_unique(table.column("image_id"), dataset)
    return table


def leave_out(table: pa.Table, image_ids: Iterable[str]) -> pa.Table:
    """Return the table without some images."""
    return table.filter(pc.invert(pc.is_in(table.column("image_id"), value_set=pa.array(image_ids, pa.string()))))


def _cast(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return (values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)).cast(kind)


def _empty(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), pa.array([], kind.value_type)).cast(kind)
    value = "" if pa.types.is_string(kind) else math.nan if pa.types.is_floating(kind) else 0
    return pa.array([value], kind).take(pa.array(np.zeros(rows, np.int32)))


def _check_unique(ids: pa.ChunkedArray, dataset: str) -> None:
    counts = ids.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise DataError(
            where=f"{dataset}, image {twice[0]['values']}",
            problem="the image id stands in more than one row",
            expected="one row per image",
            remedy="Remove the duplicate rows from the native files",
        )
