"""The scores of one task: batches in, named values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, LABELS, MASKS, MASKS_ANNOTATED, ROW
from fx_monai.metrics.auroc import auroc_per_class, macro
from fx_monai.metrics.dice import dice_per_image, mean_where
from fx_monai.metrics.mean_ap import ImageBoxes, average_precision, mean_box_iou
from fx_monai.models.decode import decode_boxes
from fx_monai.types import Kind, TaskSpec

_PRIMARY = {Kind.CLASSIFICATION: "auc_macro", Kind.LOCALIZATION: "ap40", Kind.SEGMENTATION: "dice_positive"}


def primary_metric(kind: Kind) -> str:
    """Return the metric that stands for a kind when weights are selected."""
    return _PRIMARY[kind]


class TaskScorer:
    """Collects predictions and truth of one task.

    Scores by name: classification ``auc_macro``, ``auc/<class>``; localization ``ap40``, ``ap50``, ``ap50_95`` (means
    over classes with a true box), ``box_iou``, ``ap40/<class>``; segmentation ``dice_all`` (an empty prediction of an
    empty mask counts 1), ``dice_positive`` (images that show the class), ``dice_positive/<class>``.

    Args:
        spec: the task.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.rows: list[int] = []
        self._values: list[NDArray[Any]] = []
        self._truth: list[NDArray[Any]] = []
        self._annotated: list[NDArray[np.bool_]] = []
        self._boxes: list[ImageBoxes] = []
        self._true_boxes: list[ImageBoxes] = []

    @property
    def num_images(self) -> int:
        """Images collected so far."""
        return len(self.rows)

    def add(self, output: Mapping[str, Tensor], batch: Mapping[str, Any]) -> None:
        """Add a batch.

        Args:
            output: see :meth:`fx_monai.models.foundation_x.FoundationX.predict_tasks`.
            batch: see :mod:`fx_monai.keys`.
        """
        self.rows += batch[ROW].tolist()
        kind = self.spec.task.kind
        if kind is Kind.CLASSIFICATION:
            self._values.append(_numpy(output["probs"]))
            self._truth.append(_numpy(batch[LABELS]))
        elif kind is Kind.SEGMENTATION:
            self._values.append(_numpy(dice_per_image(output["logits"] > 0, batch[MASKS])))
            self._truth.append(_numpy(batch[MASKS].flatten(2).any(-1)))
            self._annotated.append(_numpy(batch[MASKS_ANNOTATED]))
        else:
            for found, boxes, labels, annotated in zip(
                decode_boxes(output), batch[BOXES], batch[BOX_LABELS], batch[BOXES_ANNOTATED], strict=True
            ):
                self._boxes.append(
                    ImageBoxes(_numpy(found["boxes_xyxy"]), _numpy(found["labels"]), _numpy(found["scores"]))
                )
                self._true_boxes.append(ImageBoxes(_numpy(boxes), _numpy(labels), annotated=_numpy(annotated)))

    def scores(self) -> dict[str, float]:
        """Return all scores by name; NaN where one isn't defined."""
        if self.spec.task.kind is Kind.CLASSIFICATION:
            return self._auc(np.ones(len(self.rows), dtype=bool))
        return self._localization() if self.spec.task.kind is Kind.LOCALIZATION else self._segmentation()

    def scores_by_group(self, groups: Sequence[str]) -> dict[str, dict[str, tuple[float, int]]]:
        """Return the AUCs within groups of images: group -> name -> (value, images). Classification only.

        Args:
            groups: one per collected image, for example the view.
        """
        names = np.array(groups)
        return {
            group: {name: (value, int((names == group).sum())) for name, value in self._auc(names == group).items()}
            for group in sorted(set(groups))
        }

    def _auc(self, chosen: NDArray[np.bool_]) -> dict[str, float]:
        values = auroc_per_class(np.concatenate(self._values)[chosen], np.concatenate(self._truth)[chosen])
        return {"auc_macro": macro(values), **self._named("auc", values)}

    def _localization(self) -> dict[str, float]:
        count = len(self.spec.classes)
        scores = average_precision(self._boxes, self._true_boxes, num_classes=count)
        iou = mean_box_iou(self._boxes, self._true_boxes, num_classes=count)
        return {
            "ap40": macro(scores.ap40),
            "ap50": macro(scores.ap50),
            "ap50_95": macro(scores.ap50_95),
            "box_iou": macro(iou),
            **self._named("ap40", scores.ap40),
        }

    def _segmentation(self) -> dict[str, float]:
        dice, present = np.concatenate(self._values), np.concatenate(self._truth)
        annotated = np.concatenate(self._annotated)
        positive = mean_where(dice, annotated & present)
        return {
            "dice_all": macro(mean_where(dice, annotated)),
            "dice_positive": macro(positive),
            **self._named("dice_positive", positive),
        }

    def _named(self, prefix: str, values: NDArray[np.float64]) -> dict[str, float]:
        return {f"{prefix}/{name}": float(value) for name, value in zip(self.spec.classes, values, strict=True)}


def merged(scorers: Sequence[TaskScorer], order: NDArray[np.int64]) -> TaskScorer:
    """Return one scorer that holds what several have collected of one task.

    Args:
        scorers: of the same task, with different images.
        order: manifest rows in the order in which one process would have seen them.
    """
    if len(scorers) == 1:
        return scorers[0]
    whole = TaskScorer(scorers[0].spec)
    rows = [row for scorer in scorers for row in scorer.rows]
    place = {int(row): position for position, row in enumerate(order)}
    permutation = sorted(range(len(rows)), key=lambda index: place[rows[index]])
    whole.rows = [rows[index] for index in permutation]
    for name in ("_values", "_truth", "_annotated"):
        arrays = [array for scorer in scorers for array in getattr(scorer, name)]
        setattr(whole, name, [np.concatenate(arrays)[permutation]] if arrays else [])
    for name in ("_boxes", "_true_boxes"):
        boxes = [box for scorer in scorers for box in getattr(scorer, name)]
        setattr(whole, name, [boxes[index] for index in permutation] if boxes else [])
    return whole


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy() if tensor.dtype is not torch.bfloat16 else tensor.float().cpu().numpy()
