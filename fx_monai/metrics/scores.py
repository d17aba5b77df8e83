"""The scores of one task: batches in, :class:`TaskScores` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, LABELS, MASKS, MASKS_ANNOTATED, ROW
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.dice import dice_per_image
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.surface import hd95_per_image
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.card import Calibration
from fx_monai.models.decode import decode_boxes
from fx_monai.types import Kind, Task, TaskSpec

_PRIMARY = {Kind.CLASSIFICATION: "auc_macro", Kind.LOCALIZATION: "ap40", Kind.SEGMENTATION: "dice_positive"}


def primary_metric(kind: Kind) -> str:
    """Return the metric that stands for a kind when weights are selected."""
    return _PRIMARY[kind]


class TaskScorer:
    """Collects predictions and truth of one task.

    Args:
        spec: the task.
        distances: also measure Hausdorff distances, which takes milliseconds per mask.
        calibration: of the network for this task, None = there is none.
    """

    def __init__(self, spec: TaskSpec, *, distances: bool = False, calibration: Calibration | None = None) -> None:
        self.spec = spec
        self.distances = distances
        self.calibration = calibration
        self._rows: list[int] = []
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._found: list[ImageBoxes] = []
        self._true: list[ImageBoxes] = []
        self._heads: dict[Task, list[NDArray[Any]]] = {}

    def add(
        self,
        output: Mapping[str, Tensor],
        batch: Mapping[str, Any],
        *,
        other_heads: Mapping[Task, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            output: see :meth:`fx_monai.models.foundation_x.FoundationX.predict_tasks`.
            batch: see :mod:`fx_monai.keys`.
            other_heads: the same of other classification heads on these images.
        """
        self._rows += batch[ROW].tolist()
        if self.spec.task.kind is Kind.CLASSIFICATION:
            self._keep(logits=output["logits"], labels=batch[LABELS])
            for task, other in (other_heads or {}).items():
                self._heads.setdefault(task, []).append(_numpy(other["logits"]))
        elif self.spec.task.kind is Kind.SEGMENTATION:
            predicted, masks = output["logits"] > 0, batch[MASKS]
            self._keep(dice=dice_per_image(predicted, masks), present=masks.flatten(2).any(-1))
            self._keep(annotated=batch[MASKS_ANNOTATED])
            if self.distances:
                self._keep(hd95_px=hd95_per_image(predicted, masks))
        else:
            for found, boxes, labels, annotated in zip(
                decode_boxes(output), batch[BOXES], batch[BOX_LABELS], batch[BOXES_ANNOTATED], strict=True
            ):
                own = (_numpy(found[key]) for key in ("boxes_xyxy", "labels", "scores"))
                self._found.append(ImageBoxes(*own))
                self._true.append(ImageBoxes(_numpy(boxes), _numpy(labels), annotated=_numpy(annotated)))

    def scores(self) -> TaskScores:
        """Return what was collected."""
        rows = np.array(self._rows, dtype=np.int64)
        if self.spec.task.kind is Kind.LOCALIZATION:
            return LocalizationScores(self.spec, rows, self._found, self._true)
        parts = {name: np.concatenate(values) for name, values in self._parts.items()}
        if self.spec.task.kind is Kind.SEGMENTATION:
            return SegmentationScores(self.spec, rows, **parts)
        heads = {task: np.concatenate(values) for task, values in self._heads.items()}
        return ClassificationScores(self.spec, rows, **parts, calibration=self.calibration, other_heads=heads)

    def extend(self, other: TaskScorer) -> None:
        """Add what another one has collected."""
        self._rows += other._rows
        self._found += other._found
        self._true += other._true
        for name, parts in other._parts.items():
            self._parts.setdefault(name, []).extend(parts)
        for task, parts in other._heads.items():
            self._heads.setdefault(task, []).extend(parts)

    def _keep(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self._parts.setdefault(name, []).append(_numpy(tensor))


def merged(scorers: Sequence[TaskScorer], order: NDArray[np.int64]) -> TaskScores:
    """Return the scores of what several have collected of one task.

    Args:
        scorers: of the same task, with different images.
        order: manifest rows in the order in which one process would have seen them.
    """
    whole, *others = scorers
    for other in others:
        whole.extend(other)
    scores = whole.scores()
    if not others:
        return scores
    place = {int(row): position for position, row in enumerate(order)}
    return scores.select(np.argsort([place[row] for row in scores.rows.tolist()]))


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy() if tensor.dtype is not torch.bfloat16 else tensor.float().cpu().numpy()
