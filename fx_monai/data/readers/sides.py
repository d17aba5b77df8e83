"""Left and right: masks named after the patient's sides have to lie on the image's other side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fx_monai.data.manifest import Record
from fx_monai.data.rasterise import rasterise
from fx_monai.errors import DataError

_LOOKED_AT = 3


def swapped_sides_note(records: Sequence[Record], left: int, right: int, root: Path) -> str:
    """Return a note when the first images show the left mask at the image's left (the patient's right), "" otherwise.

    Args:
        records: of one set; only the first few with both masks are looked at, the set is drawn one way or the other.
        left: mask class named after the patient's left.
        right: mask class named after the patient's right.
        root: of the dataset.
    """
    swapped = 0
    paired = (record for record in records if {left, right} <= {mask.class_index for mask in record.masks})
    for record, _ in zip(paired, range(_LOOKED_AT), strict=False):
        middle = _middles(record, root)
        swapped += left in middle and right in middle and middle[left] < middle[right]
    if not swapped:
        return ""
    return f"{records[0].dataset}: left and right look swapped (the patient's left belongs at the image's right)"


def _middles(record: Record, root: Path) -> dict[int, float]:
    """Return mask class -> mean column, without masks that are empty or can't be read (the loader tells those)."""
    found = {}
    for mask in record.masks:
        try:
            columns = np.flatnonzero(rasterise(mask, record, root).any(axis=0))
        except DataError:
            continue
        if len(columns):
            found[mask.class_index] = float(columns.mean())
    return found
