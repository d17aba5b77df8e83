"""Counts of a manifest, from its columns, without an object per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.apps.tables import markdown
from fx_monai.data.columns import label_matrix, membership, ragged
from fx_monai.data.manifest import Manifest

Counts = dict[str, Any]
_AGES = (0, 1, 18, 40, 60, 80, 121)


def dataset_statistics(manifest: Manifest) -> Counts:
    """Return counts as plain values: per class, view, sex, age and split, and how much is not annotated.

    ``labels``: per class present, absent, uncertain, not annotated. ``boxes`` and ``masks``: per class how many there
    are, in how many images, and in how many images nobody looked.
    """
    table, classes = manifest.table, manifest.classes
    labels = label_matrix(table, len(classes.labels))
    looked = {
        kind: membership(table, f"{kind}_annotated", len(names))
        for kind, names in (("boxes", classes.boxes), ("masks", classes.masks))
    }
    unknown = np.isnan(labels).all(axis=1)
    nothing = unknown & ~looked["boxes"].any(axis=1) & ~looked["masks"].any(axis=1)
    return {
        "dataset": manifest.dataset,
        "images": len(manifest),
        "patients": _known_values(table.column("patient_id")),
        "views": _values(table.column("view")),
        "sexes": _values(table.column("sex")),
        "splits": _values(table.column("split")),
        "ages": _ages(np.asarray(table.column("age_years"), dtype=np.float64)),
        "labels": {
            name: {
                "present": int((labels[:, at] == 1).sum()),
                "absent": int((labels[:, at] == 0).sum()),
                "uncertain": int((labels[:, at] == -1).sum()),
                "not_annotated": int(np.isnan(labels[:, at]).sum()),
            }
            for at, name in enumerate(classes.labels)
        },
        "boxes": _regions(table, "boxes", classes.boxes, looked["boxes"]),
        "masks": _regions(table, "masks", classes.masks, looked["masks"]),
        "not_annotated": {
            "labels": int(unknown.sum()),
            "boxes": int((~looked["boxes"].any(axis=1)).sum()),
            "masks": int((~looked["masks"].any(axis=1)).sum()),
            "anything": int(nothing.sum()),
        },
    }


def statistics_lines(counts: Counts) -> list[str]:
    """Return the counts for a person: a line per column, a Markdown table per kind of annotation."""
    lines = [f"{counts['dataset']}: {counts['images']} images, {counts['patients'] or 'unknown'} patients"]
    for name in ("views", "sexes", "splits", "ages"):
        lines.append(f"  {name}: " + ", ".join(f"{key or 'unknown'} {value}" for key, value in counts[name].items()))
    missing = counts["not_annotated"]
    lines.append(
        f"  without labels {missing['labels']}, boxes not looked for {missing['boxes']}, masks not looked for "
        f"{missing['masks']}, without any annotation {missing['anything']}"
    )
    for kind, headers in (
        ("labels", ("present", "absent", "uncertain", "not_annotated")),
        ("boxes", ("number", "images", "not_annotated")),
        ("masks", ("number", "images", "not_annotated")),
    ):
        if counts[kind]:
            rows = [[name, *(str(found[key]) for key in headers)] for name, found in counts[kind].items()]
            lines += ["", markdown([kind, *(header.replace("_", " ") for header in headers)], rows)]
    return lines


def _regions(table: pa.Table, column: str, names: Sequence[str], looked: NDArray[np.bool_]) -> Counts:
    """Return, per class, how many boxes or masks there are, in how many images, and where nobody looked."""
    lists = ragged(table, column)
    indices = np.asarray(lists.field("class_index"), dtype=np.int64)
    number = np.bincount(indices, minlength=len(names))
    # an image counts once per class, however many boxes it has
    images = np.bincount(
        np.unique(lists.rows * max(1, len(names)) + indices) % max(1, len(names)), minlength=len(names)
    )
    return {
        name: {
            "number": int(number[at]),
            "images": int(images[at]),
            "not_annotated": int((~looked[:, at]).sum()),
        }
        for at, name in enumerate(names)
    }


def _values(column: pa.ChunkedArray) -> dict[str, int]:
    found = pc.value_counts(pc.fill_null(column, "")).to_pylist()
    return {item["values"]: item["counts"] for item in sorted(found, key=lambda item: -item["counts"])}


def _known_values(column: pa.ChunkedArray) -> int:
    return int(pc.count_distinct(column.filter(pc.not_equal(pc.fill_null(column, ""), ""))).as_py())


def _ages(ages: NDArray[np.float64]) -> dict[str, int]:
    known = ages[~np.isnan(ages)]
    numbers, _ = np.histogram(known, _AGES)
    named = {f"{low}-{high - 1}": int(n) for low, high, n in zip(_AGES, _AGES[1:], numbers, strict=False) if n}
    return {**named, **({"": len(ages) - len(known)} if len(known) < len(ages) else {})}
