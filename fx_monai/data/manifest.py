"""The manifest: one Parquet file per dataset, one row per image, with every annotation in one schema.

This is the only module that reads or writes manifest files. Indexing is lossless: nothing is decided here about
uncertain labels, disagreeing readers or resolutions.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.data.columns import release_unused_memory
from fx_monai.errors import DataError, did_you_mean

SCHEMA_VERSION = "1"
_CHUNK = 16_384

_BOX = pa.struct(
    [(name, pa.float32()) for name in ("x1", "y1", "x2", "y2")] + [("class_index", pa.int16()), ("reader", pa.string())]
)
_MASK = pa.struct([("class_index", pa.int16()), ("encoding", pa.string()), ("data", pa.string())])
_READER_LABELS = pa.struct([("reader", pa.string()), ("labels", pa.list_(pa.float32()))])
SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("image_id", pa.string()),
        ("image_path", pa.string()),
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("view", pa.string()),
        ("sex", pa.string()),
        ("age_years", pa.float32()),
        ("split", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("spacing_mm_x", pa.float32()),
        ("spacing_mm_y", pa.float32()),
        ("source_image", pa.string()),
        ("sha256", pa.string()),
        ("labels", pa.list_(pa.float32())),
        ("reader_labels", pa.list_(_READER_LABELS)),
        ("boxes", pa.list_(_BOX)),
        ("boxes_annotated", pa.list_(pa.int16())),
        ("masks", pa.list_(_MASK)),
        ("masks_annotated", pa.list_(pa.int16())),
    ]
)


@dataclass(frozen=True, slots=True)
class Box:
    """One box: x1, y1, x2, y2 in pixels of the annotation frame (origin top left, right and bottom exclusive)."""

    x1: float
    y1: float
    x2: float
    y2: float
    class_index: int
    reader: str = ""


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask of one class.

    Args:
        class_index: index into the manifest's ``mask_classes``.
        encoding: ``coco_rle`` (data = JSON of a COCO RLE in the annotation frame), ``polygon`` (data = JSON list
            of flat x, y lists in the annotation frame), ``file`` (data = path of an image relative to the root,
            non-zero = inside) or ``file_crop`` (data = JSON with path, left, top, width, height).
        data: see ``encoding``.
    """

    class_index: int
    encoding: str
    data: str


@dataclass(slots=True)
class Record:
    """One image with all its annotations; the fields are the columns of design section "manifest".

    Args:
        patient_id: namespaced, ``<origin>:<id>``, so that one patient has one id in every dataset that shows him.
        view: ``PA``, ``AP``, ``LATERAL``, ``OTHER`` or "" when unknown. ``sex``: ``F``, ``M`` or "".
        age_years: NaN when unknown or implausible (above 120).
        split: official split (``train``, ``val``, ``test``) or "" when the dataset has none.
        width, height: annotation frame in pixels; boxes, polygons and RLE refer to it, the file may be smaller. 0, 0
            when it is the size of a file that isn't there or can't be read.
        spacing_mm_x, spacing_mm_y: mm per pixel of the annotation frame, NaN when unknown or absurd.
        source_image: ``<dataset>/<image id>`` of the original when this image is a copy of another dataset's.
        labels: per class of ``label_names``: 1 present, 0 absent, -1 uncertain, NaN not annotated.
        boxes_annotated: indices of the box classes that were looked for; empty = nobody looked.
        masks_annotated: indices of the mask classes that were looked for; empty = nobody looked.
    """

    dataset: str
    image_id: str
    image_path: str
    width: int
    height: int
    patient_id: str = ""
    study_id: str = ""
    view: str = ""
    sex: str = ""
    age_years: float = math.nan
    split: str = ""
    spacing_mm_x: float = math.nan
    spacing_mm_y: float = math.nan
    source_image: str = ""
    sha256: str = ""
    labels: list[float] = field(default_factory=list)
    reader_labels: list[tuple[str, list[float]]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    boxes_annotated: list[int] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    masks_annotated: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Classes:
    """Class names of a dataset in the order of the manifest's indices.

    Args:
        labels: names of the image-level labels.
        boxes: names of the box classes.
        masks: names of the mask classes.
        exclusive_labels: exactly one of ``labels`` holds per image.
    """

    labels: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    exclusive_labels: bool = False


class Manifest:
    """An Arrow table of records with its class names; rows become :class:`Record` objects on demand.

    Args:
        table: rows in :data:`SCHEMA`.
        dataset: name of the dataset.
        classes: class names.
        root: folder that ``image_path`` and mask files are relative to.
        notes: what the reader left out or found odd, one sentence each.
    """

    def __init__(
        self, table: pa.Table, *, dataset: str, classes: Classes, root: Path, notes: tuple[str, ...] = ()
    ) -> None:
        self.table = table
        self.dataset = dataset
        self.classes = classes
        self.root = root
        self.notes = notes

    @classmethod
    def from_records(
        cls, records: Iterable[Record], *, dataset: str, classes: Classes, root: Path, notes: Iterable[str] = ()
    ) -> Manifest:
        """Check the records (unique ids, boxes inside the frame, class indices) and build the table.

        Raises:
            DataError: an id stands twice, a box has no area or leaves the frame, or an index has no class.
        """
        rows: list[dict[str, Any]] = []
        chunks, seen = [], set()
        for record in records:
            if record.image_id in seen:
                raise DataError(
                    where=f"{dataset}, image {record.image_id}",
                    problem="the image id stands in more than one record",
                    expected="one record per image",
                    remedy="Remove the duplicate rows from the native files",
                )
            seen.add(record.image_id)
            _check(record, classes)
            rows.append(_to_row(record))
            if len(rows) == _CHUNK:
                # a dict per image is large; only so many are held at a time
                chunks.append(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows = []
        table = pa.concat_tables([*chunks, pa.Table.from_pylist(rows, schema=SCHEMA)])
        return cls(table, dataset=dataset, classes=classes, root=root, notes=tuple(notes))

    @classmethod
    def read(cls, path: Path, *, root: Path | None = None) -> Manifest:
        """Read a manifest file; ``root`` replaces the folder noted when it was written.

        Raises:
            DataError: no such file, not Parquet, or not a manifest of this schema version.
        """
        expected, remedy = (
            f"a manifest of schema {SCHEMA_VERSION}",
            "Write it with `fx-monai index NAME ROOT OUT.parquet`",
        )
        if not path.is_file():
            raise DataError(where=str(path), problem="there is no such file", expected=expected, remedy=remedy)
        try:
            table = pq.read_table(path, memory_map=True)
            release_unused_memory()
            meta = json.loads((table.schema.metadata or {})[b"fx_monai"])
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise DataError(
                where=str(path), problem=f"not a manifest ({type(error).__name__})", expected=expected, remedy=remedy
            ) from error
        if meta["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                where=str(path), problem=f"schema version {meta['schema_version']}", expected=expected, remedy=remedy
            )
        names = meta["classes"]
        classes = Classes(
            labels=tuple(names["labels"]),
            boxes=tuple(names["boxes"]),
            masks=tuple(names["masks"]),
            exclusive_labels=bool(names["exclusive_labels"]),
        )
        return cls(
            table,
            dataset=meta["dataset"],
            classes=classes,
            root=root or Path(meta["root"]),
            notes=tuple(meta["notes"]),
        )

    def write(self, path: Path) -> None:
        """Write the manifest as Parquet, whole or not at all (temporary file, then rename)."""
        meta = {
            "schema_version": SCHEMA_VERSION,
            "dataset": self.dataset,
            "classes": asdict(self.classes),
            "root": str(self.root.resolve()),
            "notes": list(self.notes),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        pq.write_table(self.table.replace_schema_metadata({"fx_monai": json.dumps(meta)}), temporary)
        os.replace(temporary, path)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Record:
        return _to_record(self.table.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Record]:
        for batch in self.table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield _to_record(row)

    def column(self, name: str) -> list[Any]:
        """Return one column as a Python list."""
        if name not in SCHEMA.names:
            raise KeyError(f"{name}: no such column. {did_you_mean(name, SCHEMA.names)}")
        return list(self.table.column(name).to_pylist())

    def labels(self) -> NDArray[np.float32]:
        """Return all image-level labels as (rows, classes) float32; -1 uncertain, NaN not annotated."""
        width = len(self.classes.labels)
        values = [row if row else [math.nan] * width for row in self.column("labels")]
        return np.asarray(values, dtype=np.float32).reshape(len(self), width)


def _check(record: Record, classes: Classes) -> None:
    where = f"{record.dataset}, image {record.image_id}"
    remedy = "Correct the native annotation or leave the row out"
    if record.labels and len(record.labels) != len(classes.labels):
        raise DataError(
            where=where,
            problem=f"{len(record.labels)} labels",
            expected=f"{len(classes.labels)} labels, one per class",
            remedy=remedy,
        )
    for box in record.boxes:
        corners = (box.x1, box.y1, box.x2, box.y2)
        shown = ", ".join(f"{value:g}" for value in corners)
        if not all(math.isfinite(value) for value in corners) or box.x2 <= box.x1 or box.y2 <= box.y1:
            raise DataError(
                where=where, problem=f"box ({shown}) has no area", expected="x1 < x2, y1 < y2", remedy=remedy
            )
        if (record.width, record.height) == (0, 0):
            continue
        if box.x1 < -1 or box.y1 < -1 or box.x2 > record.width + 1 or box.y2 > record.height + 1:
            raise DataError(
                where=where,
                problem=f"box ({shown}) lies outside the image",
                expected=f"xyxy pixels inside {record.width} x {record.height}",
                remedy=remedy,
            )
    used = {"box": ({b.class_index for b in record.boxes} | set(record.boxes_annotated), classes.boxes)}
    used["mask"] = ({m.class_index for m in record.masks} | set(record.masks_annotated), classes.masks)
    for what, (indices, names) in used.items():
        bad = [index for index in indices if not 0 <= index < len(names)]
        if bad:
            raise DataError(
                where=where, problem=f"{what} class index {bad[0]}", expected=f"0 to {len(names) - 1}", remedy=remedy
            )


def _to_row(record: Record) -> dict[str, Any]:
    row = {f.name: getattr(record, f.name) for f in fields(record)}
    row["boxes"] = [asdict(box) for box in record.boxes]
    row["masks"] = [asdict(mask) for mask in record.masks]
    row["reader_labels"] = [{"reader": reader, "labels": labels} for reader, labels in record.reader_labels]
    return row


def _to_record(row: dict[str, Any]) -> Record:
    row["boxes"] = [Box(**box) for box in row["boxes"]]
    row["masks"] = [Mask(**mask) for mask in row["masks"]]
    row["reader_labels"] = [(item["reader"], item["labels"]) for item in row["reader_labels"]]
    return Record(**row)
