"""Lists of images that a recipe leaves out or keeps together: CSV files, written by ``fx-monai audit`` or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest
from fx_monai.errors import DataError

EXCLUDE = ("dataset", "image_id", "reason", "evidence")
LINKS = ("dataset", "image_id", "link")


def read_exclusions(paths: Sequence[Path]) -> pa.Table:
    """Read lists of images to leave out: columns dataset, image_id; reason and evidence are for people.

    Raises:
        DataError: a file is missing, no CSV, or lacks a column.
    """
    return _read(paths, EXCLUDE[:2])


def read_links(paths: Sequence[Path]) -> pa.Table:
    """Read lists of images that belong together: columns dataset, image_id, link; one link, one picture or patient.

    Raises:
        DataError: a file is missing, no CSV, or lacks a column.
    """
    return _read(paths, LINKS)


def excluded_rows(manifest: Manifest, exclusions: pa.Table) -> NDArray[np.bool_]:
    """Return which rows of a manifest are on the list, (rows,)."""
    own = _own(manifest, exclusions)
    return np.asarray(pc.is_in(manifest.table.column("image_id"), own.column("image_id").combine_chunks()))


def link_names(manifest: Manifest, links: pa.Table) -> pa.ChunkedArray:
    """Return the link of every row of a manifest, "" where there is none."""
    own = _own(manifest, links)
    place = pc.index_in(manifest.table.column("image_id"), own.column("image_id").combine_chunks())
    return pc.fill_null(own.column("link").take(place), "")


def _own(manifest: Manifest, table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table.column("dataset"), manifest.dataset))


def _read(paths: Sequence[Path], columns: Sequence[str]) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in columns])
    tables = [schema.empty_table()]
    options = pacsv.ConvertOptions(
        include_columns=list(columns), column_types=schema, null_values=[], strings_can_be_null=False
    )
    for path in paths:
        try:
            tables.append(pacsv.read_csv(path, convert_options=options))
        except (OSError, pa.ArrowException) as error:
            problem = "there is no such file" if isinstance(error, FileNotFoundError) else "no CSV with these columns"
            raise DataError(
                where=str(path),
                problem=problem,
                expected=f"a CSV with the columns {', '.join(columns)}",
                remedy="Write it with `fx-monai audit`, or correct the recipe's data.exclude and data.links",
            ) from error
    return pa.concat_tables(tables)
