"""Samples of one task: what the store and the manifest hold, augmented, with what is unknown marked as unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from numpy.typing import NDArray

from fx_monai.data.annotations import task_annotations
from fx_monai.data.laterality import has_side, mirror_swaps
from fx_monai.data.manifest import Manifest
from fx_monai.data.policies import Policies
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation, RandomGeometryd, TwoViewsd
from fx_monai.errors import ConfigError
from fx_monai.keys import (
    BOX_LABELS,
    BOXES,
    IMAGE,
    ROW,
    TEACHER_IMAGE,
)
from fx_monai.ops.label_counts import LabelCounts
from fx_monai.types import TaskSpec


class TaskDataset(Dataset):
    """Samples of one task.

    A sample is a pure function of (seed, draw, row): the number of workers, the order and interruptions don't matter.
    Annotations are held as arrays, which worker processes share.

    Args:
        manifest: annotations.
        store: pixels.
        spec: the task; its classes are found in the manifest by name.
        rows: manifest rows, see :func:`annotated_rows`.
        augmentation: None = the stored image as it is, and no second view.
        seed: of augmentation and smoothed labels.
        policies: what becomes of uncertain labels and of readers who disagree.
        laterality: pairs of class names that a mirror image swaps, beside those that the names themselves tell.

    Raises:
        ConfigError: a class is not in the manifest, or flips are asked for with a left or right class whose mirror
            image is none of the classes.
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
        policies: Policies = Policies(),  # noqa: B008 (frozen)
        laterality: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(rows)
        self.store, self.spec, self.rows = store, spec, rows
        self.seed = seed
        self._annotations = task_annotations(manifest, store, spec, policies, seed, rows)
        self._geometry = self._views = None
        # one stream each, so that a change of one doesn't move the other; seeding them is far cheaper than making them
        self._streams = (np.random.RandomState(), np.random.RandomState())
        if augmentation is not None:
            swap = _swaps(spec, laterality, augmentation)
            self._geometry = RandomGeometryd(augmentation, swap_boxes=swap, swap_masks=swap, swap_labels=swap)
            self._geometry.set_random_state(state=self._streams[0])
            self._views = TwoViewsd(augmentation).set_random_state(state=self._streams[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.sample(position, 0)

    def sample(self, position: int, draw: int) -> dict[str, Any]:
        """Return a sample; ``draw`` tells several visits of one image apart. Keys: :mod:`fx_monai.keys`."""
        row = int(self.rows[position])
        data: dict[Any, Any] = {IMAGE: self.store.image(row), ROW: row, **self._annotations.of(position)}
        if self._geometry is not None and self._views is not None:
            seeds = np.random.SeedSequence([self.seed, draw, row]).generate_state(2)
            for stream, seed in zip(self._streams, seeds, strict=True):
                stream.seed(int(seed))
            data = self._views(self._geometry(data))
        return {key: _to_tensor(key, value) for key, value in data.items()}

    def positives(self) -> NDArray[np.bool_]:
        """Return, per position, whether the image shows anything of the task's classes."""
        return self._annotations.positive()

    def label_counts(self) -> LabelCounts | None:
        """Return how many samples have each class and how many haven't; None unless the task is classification."""
        return self._annotations.label_counts()


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack samples to a batch; boxes stay lists. Images stay 8 or 16 bit until :func:`to_device`."""
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
            moved[key] = value.to(device, non_blocking=True).float() / torch.iinfo(value.dtype).max
        else:
            moved[key] = value.to(device, non_blocking=True)
    return moved


def _to_tensor(key: str, value: Any) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(value)) if key != ROW else torch.tensor(value)
    return tensor[None] if key in (IMAGE, TEACHER_IMAGE) else tensor


def _swaps(spec: TaskSpec, laterality: Sequence[tuple[str, str]], augmentation: Augmentation) -> dict[int, int]:
    swap = mirror_swaps(spec.classes, laterality)
    open_sides = [name for index, name in enumerate(spec.classes) if has_side(name) and index not in swap]
    if augmentation.flip and open_sides:
        raise ConfigError(
            where=f"augmentation.flip, task {spec.task}",
            problem=f"the class '{open_sides[0]}' has a side, and no class is named like its mirror image",
            expected="classes of both sides whose names differ in the side alone, or flip: false",
            remedy="Set augmentation.flip to false",
        )
    return swap
