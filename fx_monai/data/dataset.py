"""Samples of one task: what the store and the manifest hold, augmented, with what is unknown marked as unknown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation, RandomGeometryd, TwoViewsd
from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.keys import (
    BOX_LABELS,
    BOXES,
    BOXES_ANNOTATED,
    IMAGE,
    LABELS,
    MASKS,
    MASKS_ANNOTATED,
    ROW,
    TEACHER_IMAGE,
)
from fx_monai.ops.boxes import clip_boxes_xyxy, map_boxes_xyxy
from fx_monai.types import Kind, TaskSpec

UNCERTAIN = -1.0
SMOOTH_RANGE = (0.55, 0.85)
FIXED_POLICIES = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}


class TaskDataset(Dataset):
    """Samples of one task.

    A sample is a pure function of (seed, draw, row): the number of workers, the order and interruptions don't matter.

    Args:
        manifest: annotations.
        store: pixels.
        spec: the task; its classes are found in the manifest by name.
        rows: manifest rows, see :func:`annotated_rows`.
        augmentation: None = the stored image as it is, and no second view.
        seed: of augmentation and smoothed labels.
        uncertain: what -1 becomes: ``ignore`` (NaN), ``zeros``, ``ones`` or ``smooth`` (uniform in 0.55 to 0.85, the
            "LSR-Ones" of Ark and Foundation X).
        laterality: pairs of class names that a mirror image swaps.

    Raises:
        ConfigError: a class is not in the manifest, the policy for uncertain labels is unknown, or flips are asked for
            with left and right classes that no pair names.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: ImageStore,
        spec: TaskSpec,
        rows: NDArray[np.int64],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        uncertain: str = "ignore",
        laterality: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(rows)
        self.manifest, self.store, self.spec, self.rows = manifest, store, spec, rows
        self.seed = seed
        self.uncertain = _checked_policy(uncertain)
        self._own = class_positions(manifest, spec)
        self._geometry = self._views = None
        if augmentation is not None:
            swap = _swaps(spec, laterality, augmentation)
            self._geometry = RandomGeometryd(augmentation, swap_boxes=swap, swap_masks=swap, swap_labels=swap)
            self._views = TwoViewsd(augmentation)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.sample(position, 0)

    def sample(self, position: int, draw: int) -> dict[str, Any]:
        """Return a sample; ``draw`` tells several visits of one image apart. Keys: :mod:`fx_monai.keys`."""
        row = int(self.rows[position])
        data: dict[Any, Any] = {IMAGE: self.store.image(row), ROW: row, **self._annotations(row)}
        if self._geometry is not None and self._views is not None:
            # one stream each, so that a change of one doesn't move the other
            state = np.random.SeedSequence([self.seed, draw, row]).generate_state(2)
            data = self._geometry.set_random_state(seed=int(state[0]))(data)
            data = self._views.set_random_state(seed=int(state[1]))(data)
        return {key: _to_tensor(key, value) for key, value in data.items()}

    def positives(self) -> NDArray[np.bool_]:
        """Return, per position, whether the image shows anything of the task's classes."""
        return np.array([self._is_positive(int(row)) for row in self.rows], dtype=bool)

    def _is_positive(self, row: int) -> bool:
        record = self.manifest[row]
        own = set(self._own)
        if self.spec.task.kind is Kind.CLASSIFICATION:
            return any(record.labels[i] == 1 for i in own)
        found = record.boxes if self.spec.task.kind is Kind.LOCALIZATION else record.masks
        return any(item.class_index in own for item in found)

    def _annotations(self, row: int) -> dict[str, Any]:
        record = self.manifest[row]
        if self.spec.task.kind is Kind.CLASSIFICATION:
            return {LABELS: self._labels(record.labels, row)}
        new = {old: new for new, old in enumerate(self._own)}
        if self.spec.task.kind is Kind.SEGMENTATION:
            masks = np.zeros((len(self._own), self.store.size, self.store.size), dtype=np.uint8)
            for index, mask in self.store.masks(row):
                if index in new:
                    masks[new[index]] = mask
            return {MASKS: masks, MASKS_ANNOTATED: _flags(record.masks_annotated, self._own)}
        boxes = [box for box in record.boxes if box.class_index in new]
        corners = np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], dtype=np.float32).reshape(-1, 4)
        mapped = map_boxes_xyxy(corners, self.store.frame_to_store(row))
        clipped, _ = clip_boxes_xyxy(mapped, self.store.size)
        return {
            BOXES: clipped,
            BOX_LABELS: np.array([new[b.class_index] for b in boxes], dtype=np.int64),
            BOXES_ANNOTATED: _flags(record.boxes_annotated, self._own),
        }

    def _labels(self, values: Sequence[float], row: int) -> NDArray[np.float32]:
        labels = np.array([values[i] for i in self._own], dtype=np.float32)
        unsure = labels == UNCERTAIN
        if self.uncertain == "smooth":
            labels[unsure] = np.random.default_rng([self.seed, row]).uniform(*SMOOTH_RANGE, int(unsure.sum()))
        else:
            labels[unsure] = FIXED_POLICIES[self.uncertain]
        return labels


def _checked_policy(uncertain: str) -> str:
    choices = (*FIXED_POLICIES, "smooth")
    if uncertain not in choices:
        raise ConfigError(
            where="uncertain",
            problem=f"'{uncertain}'. {did_you_mean(uncertain, choices)}".rstrip(),
            expected=f"one of {', '.join(choices)}",
            remedy="Correct the value",
        )
    return uncertain


def annotated_rows(manifest: Manifest, spec: TaskSpec) -> NDArray[np.int64]:
    """Return the rows in which at least one class of the task was looked for."""
    own = set(class_positions(manifest, spec))
    if spec.task.kind is Kind.CLASSIFICATION:
        known = [any(row[i] == row[i] for i in own) if row else False for row in manifest.column("labels")]
    else:
        name = "boxes_annotated" if spec.task.kind is Kind.LOCALIZATION else "masks_annotated"
        known = [not own.isdisjoint(row or ()) for row in manifest.column(name)]
    return np.flatnonzero(known).astype(np.int64)


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


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack samples to a batch; boxes stay lists. Images stay uint8 until :func:`to_device`."""
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        batch[key] = values if key in (BOXES, BOX_LABELS) else torch.stack(values)
    return batch


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move a batch to the device and turn images into float32 in [0, 1]."""
    moved: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, list):
            moved[key] = [item.to(device, non_blocking=True) for item in value]
        elif key in (IMAGE, TEACHER_IMAGE):
            moved[key] = value.to(device, non_blocking=True).float() / 255
        else:
            moved[key] = value.to(device, non_blocking=True)
    return moved


def _to_tensor(key: str, value: Any) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(value)) if key != ROW else torch.tensor(value)
    return tensor[None] if key in (IMAGE, TEACHER_IMAGE) else tensor


def _flags(annotated: Sequence[int], own: Sequence[int]) -> NDArray[np.bool_]:
    return np.array([index in annotated for index in own], dtype=bool)


def _swaps(spec: TaskSpec, laterality: Sequence[tuple[str, str]], augmentation: Augmentation) -> dict[int, int]:
    swap: dict[int, int] = {}
    for pair in laterality:
        if all(name in spec.classes for name in pair):
            a, b = (spec.classes.index(name) for name in pair)
            swap |= {a: b, b: a}
    # words of "left lung", "left_lung" and "LeftLung"; "bright" has no side
    words = [{word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)} for name in spec.classes]
    sided = [index for index, own in enumerate(words) if own & {"left", "right"}]
    open_sides = [spec.classes[i] for i in sided if i not in swap]
    if augmentation.flip and open_sides:
        raise ConfigError(
            where=f"augmentation.flip, task {spec.task}",
            problem=f"the class '{open_sides[0]}' has a side, and no pair tells what its mirror image is",
            expected="flip: false, or laterality pairs in the catalogue",
            remedy="Set augmentation.flip to false",
        )
    return swap
