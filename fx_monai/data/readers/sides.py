"""Left and right: what is named after the patient's sides has to lie on the image's other side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.rasterise import rasterise
from fx_monai.errors import DataError

_LOOKED_AT = 3


def swapped_sides_note(
    records: Sequence[Record], classes: Classes, pairs: Sequence[tuple[str, str]], root: Path
) -> str:
    """Return a note when the first images show the left at the image's left (the patient's right), "" otherwise.

    Args:
        records: of one set; only the first few that show both sides are looked at, the set is drawn one way or the
            other.
        classes: of the records.
        pairs: names of box or mask classes, the patient's left first.
        root: of the dataset.
    """
    shown = filter(None, (list(_swapped(record, classes, pairs, root)) for record in records)) if pairs else iter(())
    if not any(any(found) for found in islice(shown, _LOOKED_AT)):
        return ""
    return f"{records[0].dataset}: left and right look swapped (the patient's left belongs at the image's right)"


def _swapped(record: Record, classes: Classes, pairs: Sequence[tuple[str, str]], root: Path) -> Iterator[bool]:
    """Yield, per pair of which both sides are shown, whether the left one lies at the image's left."""
    for names, middles in ((classes.boxes, _box_middles), (classes.masks, _mask_middles)):
        for pair in pairs:
            if all(name in names for name in pair):
                left, right = (middles(record, names.index(name), root) for name in pair)
                if left is not None and right is not None:
                    yield left < right


def _box_middles(record: Record, class_index: int, root: Path) -> float | None:
    found = [(box.x1 + box.x2) / 2 for box in record.boxes if box.class_index == class_index]
    return float(np.mean(found)) if found else None


def _mask_middles(record: Record, class_index: int, root: Path) -> float | None:
    """Return the mean column; None for masks that are empty or can't be read (the loader tells those)."""
    found = []
    for mask in record.masks:
        if mask.class_index == class_index:
            try:
                pixels = rasterise(mask, record, root)
            except DataError:
                continue
            # mask files may be scaled copies
            found += [np.flatnonzero(pixels.any(axis=0)) / pixels.shape[1]]
    columns = np.concatenate(found) if found else np.zeros(0)
    return float(columns.mean()) if len(columns) else None
