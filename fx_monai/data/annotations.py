"""Annotations of one task as arrays, after a recipe's policies: what a sample holds beside its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.columns import label_matrix, membership, present, ragged, release_unused_memory
from fx_monai.data.manifest import Manifest, Mask
from fx_monai.data.policies import Policies, decided_boxes, decided_labels, readers_per_row
from fx_monai.data.store import ImageStore
from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, LABELS, MASKS, MASKS_ANNOTATED
from fx_monai.ops.boxes import clip_boxes_xyxy, map_boxes_xyxy
from fx_monai.ops.label_counts import LabelCounts
from fx_monai.types import Kind, TaskSpec


class Annotations(Protocol):
    """What a task's samples hold beside their pixels."""

    def of(self, position: int) -> dict[str, Any]:
        """Return the annotations of a sample in pixels of the store, see :mod:`fx_monai.keys`."""

    def positive(self) -> NDArray[np.bool_]:
        """Return, per sample, whether the image shows anything of the task's classes."""

    def label_counts(self) -> LabelCounts | None:
        """Return how many samples have each class and how many haven't; None where there are no image-level labels."""


def task_annotations(
    manifest: Manifest, store: ImageStore | None, spec: TaskSpec, policies: Policies, seed: int, rows: NDArray[np.int64]
) -> Annotations:
    """Return the annotations of a task for chosen manifest rows, its samples.

    Args:
        manifest: where they stand.
        store: boxes and masks are in its pixels; None = boxes in the annotation frame, masks as they are encoded.
        spec: the task.
        policies: what becomes of doubtful annotations.
        seed: of smoothed labels.
        rows: manifest rows.

    Raises:
        ConfigError: a class is not in the manifest.
    """
    own = class_positions(manifest, spec)
    made: Annotations
    if spec.task.kind is Kind.CLASSIFICATION:
        made = _Labels(decided_labels(manifest, policies, seed)[rows[:, None], own])
    else:
        made = (_Boxes if spec.task.kind is Kind.LOCALIZATION else _Masks)(manifest, store, own, policies, rows)
    release_unused_memory()
    return made


def annotated_rows(manifest: Manifest, spec: TaskSpec) -> NDArray[np.int64]:
    """Return the rows in which at least one class of the task was looked for."""
    own = class_positions(manifest, spec)
    if spec.task.kind is Kind.CLASSIFICATION:
        known = ~np.isnan(label_matrix(manifest.table, len(manifest.classes.labels))[:, own])
        known |= present(manifest.table, "reader_labels")[:, None]
    else:
        localization = spec.task.kind is Kind.LOCALIZATION
        column = "boxes_annotated" if localization else "masks_annotated"
        number = len(manifest.classes.boxes if localization else manifest.classes.masks)
        known = membership(manifest.table, column, number)[:, own]
    release_unused_memory()
    return np.flatnonzero(known.any(axis=1)).astype(np.int64)


def class_positions(manifest: Manifest, spec: TaskSpec) -> list[int]:
    """Return the manifest's index of every class of a task.

    Raises:
        ConfigError: a class is not in the manifest.
    """
    names = {
        Kind.CLASSIFICATION: manifest.classes.labels,
        Kind.LOCALIZATION: manifest.classes.boxes,
        Kind.SEGMENTATION: manifest.classes.masks,
    }[spec.task.kind]
    for name in spec.classes:
        if name not in names:
            raise ConfigError(
                where=f"task {spec.task}",
                problem=f"there is no class '{name}'. {did_you_mean(name, names)}".rstrip(),
                expected=f"some of {', '.join(names) or 'none'}",
                remedy="Correct the name, or remove the task",
            )
    return [names.index(name) for name in spec.classes]


class _Labels:
    """Image-level labels of the samples, (samples, K) float32, NaN where unknown."""

    def __init__(self, labels: NDArray[np.float32]) -> None:
        self._labels = labels

    def of(self, position: int) -> dict[str, Any]:
        return {LABELS: self._labels[position].copy()}

    def positive(self) -> NDArray[np.bool_]:
        return np.asarray((self._labels == 1).any(axis=1))

    def label_counts(self) -> LabelCounts:
        return LabelCounts.of(self._labels)


class _Boxes:
    """Boxes of all rows end to end; several readers' boxes are brought together when an image is asked for."""

    def __init__(
        self,
        manifest: Manifest,
        store: ImageStore | None,
        own: Sequence[int],
        policies: Policies,
        rows: NDArray[np.int64],
    ) -> None:
        self._rows = rows
        boxes = ragged(manifest.table, "boxes")
        self._store, self._rule = store, policies.box_consensus
        self._offsets = boxes.offsets
        corners = [np.asarray(boxes.field(name), dtype=np.float32) for name in ("x1", "y1", "x2", "y2")]
        self._corners = np.stack(corners, axis=1)
        new = np.full(len(manifest.classes.boxes), -1)
        new[list(own)] = np.arange(len(own))
        self._classes = new[np.asarray(boxes.field("class_index"), dtype=np.int64)]
        self._readers = np.asarray(boxes.field("reader").dictionary_encode().combine_chunks().indices, dtype=np.int64)
        self._number_of_readers = readers_per_row(manifest)
        self._annotated = membership(manifest.table, "boxes_annotated", len(new))[:, list(own)]

    def of(self, position: int) -> dict[str, Any]:
        row = int(self._rows[position])
        span = slice(self._offsets[row], self._offsets[row + 1])
        own = self._classes[span] >= 0
        corners, classes = decided_boxes(
            self._corners[span][own],
            self._classes[span][own],
            self._readers[span][own],
            int(self._number_of_readers[row]),
            self._rule,
        )
        if self._store is not None:
            corners = map_boxes_xyxy(corners, self._store.frame_to_store(row))
            corners, _ = clip_boxes_xyxy(corners, self._store.size)
        return {BOXES: corners, BOX_LABELS: classes, BOXES_ANNOTATED: self._annotated[row].copy()}

    def positive(self) -> NDArray[np.bool_]:
        found = np.zeros(len(self._offsets) - 1, dtype=bool)
        found[np.repeat(np.arange(len(found)), np.diff(self._offsets))[self._classes >= 0]] = True
        return found[self._rows]

    def label_counts(self) -> None:
        return None


class _Masks:
    """Masks of the store; the manifest tells which classes were looked for."""

    def __init__(
        self,
        manifest: Manifest,
        store: ImageStore | None,
        own: Sequence[int],
        policies: Policies,
        rows: NDArray[np.int64],
    ) -> None:
        self._rows = rows
        self._store = store
        # worker processes get a copy of this object; it holds the manifest only where there is no store
        self._manifest = None if store is not None else manifest
        self._new = {old: new for new, old in enumerate(own)}
        number = len(manifest.classes.masks)
        masks = ragged(manifest.table, "masks")
        self._positive = np.zeros(len(manifest), dtype=bool)
        self._positive[masks.rows[np.isin(np.asarray(masks.field("class_index")), list(own))]] = True
        self._annotated = membership(manifest.table, "masks_annotated", number)[:, list(own)]

    def of(self, position: int) -> dict[str, Any]:
        row = int(self._rows[position])
        masks = self._encoded(row) if self._store is None else self._pixels(self._store, row)
        return {MASKS: masks, MASKS_ANNOTATED: self._annotated[row].copy()}

    def _pixels(self, store: ImageStore, row: int) -> NDArray[np.uint8]:
        masks = np.zeros((len(self._new), store.size, store.size), dtype=np.uint8)
        for index, mask in store.masks(row):
            if index in self._new:
                masks[self._new[index]] = mask
        return masks

    def _encoded(self, row: int) -> list[Mask]:
        assert self._manifest is not None
        masks = (mask for mask in self._manifest[row].masks if mask.class_index in self._new)
        return [replace(mask, class_index=self._new[mask.class_index]) for mask in masks]

    def positive(self) -> NDArray[np.bool_]:
        return self._positive[self._rows]

    def label_counts(self) -> None:
        return None
