"""The images of a split as a list of dicts that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest

RecordDict = dict[str, str | int]


class SplitRecords(Sequence[RecordDict]):
    """Images of several manifests, one dict each: ``dataset``, ``image`` (path), ``image_id``, ``row``.

    Args:
        manifests: by dataset name.
        rows: rows of each manifest, by dataset name.
    """

    def __init__(self, manifests: Mapping[str, Manifest], rows: Mapping[str, NDArray[np.int64]]) -> None:
        self._manifests, self.rows = manifests, rows
        self._names = list(rows)
        self._starts = np.cumsum([0, *(len(rows[name]) for name in self._names)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> RecordDict: ...

    @overload
    def __getitem__(self, index: slice) -> list[RecordDict]: ...

    def __getitem__(self, index: int | slice) -> RecordDict | list[RecordDict]:
        """Return one dict, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        at = index % len(self)
        place = int(np.searchsorted(self._starts, at, side="right")) - 1
        name = self._names[place]
        row = int(self.rows[name][at - self._starts[place]])
        manifest = self._manifests[name]
        path, image_id = (manifest.table.column(column)[row].as_py() for column in ("image_path", "image_id"))
        return {"dataset": name, "image": str(manifest.root / path), "image_id": image_id, "row": row}


def rows_of(records: Sequence[Mapping[str, str | int]], dataset: str) -> NDArray[np.int64]:
    """Return the manifest rows of one dataset that stand in a list of such dicts."""
    if isinstance(records, SplitRecords):
        return records.rows.get(dataset, np.zeros(0, dtype=np.int64))
    return np.array([int(record["row"]) for record in records if record["dataset"] == dataset], dtype=np.int64)
