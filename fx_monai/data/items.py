"""A manifest as a list of dicts, for MONAI's datasets and transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.annotations import annotated_rows, task_annotations
from fx_monai.data.manifest import Manifest
from fx_monai.data.policies import Policies, chosen_views
from fx_monai.keys import FRAME, IMAGE, IMAGE_ID, ROW
from fx_monai.types import TaskSpec

Item = dict[str, Any]


class ManifestItems(Sequence[Item]):
    """The annotated images of one task, one dict each, made when it is asked for.

    Keys: ``image`` (path), ``image_id``, ``row``, ``frame`` (width, height; pixels of the annotation frame), and after
    the policies ``labels``, or ``boxes`` in pixels of the frame with ``box_labels`` and ``boxes_annotated``, or
    ``masks`` as a list of :class:`fx_monai.data.manifest.Mask` with ``masks_annotated``; see :mod:`fx_monai.keys`.

    For training with many images an image store is more than ten times as fast (``docs/data.md``).

    Args:
        manifest: images and annotations.
        spec: the task; its classes are found in the manifest by name.
        policies: what becomes of uncertain labels, of readers who disagree, and which views are used.
        rows: manifest rows; None = all that are annotated for the task and show a view that is used.
        seed: of smoothed labels.

    Raises:
        ConfigError: a class is not in the manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: TaskSpec,
        *,
        policies: Policies = Policies(),  # noqa: B008 (frozen)
        rows: NDArray[np.int64] | None = None,
        seed: int = 0,
    ) -> None:
        if rows is None:
            rows = annotated_rows(manifest, spec)
            rows = rows[chosen_views(manifest, policies)[rows]]
        self.manifest, self.rows = manifest, rows
        self._annotations = task_annotations(manifest, None, spec, policies, seed, rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Return one dict, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        row = int(self.rows[position])
        names = ("image_path", "image_id", "width", "height")
        path, image_id, width, height = (self.manifest.table.column(name)[row].as_py() for name in names)
        return {
            IMAGE: str(self.manifest.root / path),
            IMAGE_ID: image_id,
            ROW: row,
            FRAME: (width, height),
            **self._annotations.of(position),
        }
