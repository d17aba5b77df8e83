"""Scores of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.box_matching import ClassMatches, ImageBoxes, match_boxes
from fx_monai.metrics.dice import mean_where
from fx_monai.metrics.froc import MIN_IOU, RATE_NAMES, sensitivity_at_rates
from fx_monai.metrics.mean_ap import THRESHOLDS, iou_of_best_box, named_thresholds, precision_at_thresholds
from fx_monai.metrics.resampling import Counts, Measured
from fx_monai.metrics.task_scores import TaskScores, means

_ALL_THRESHOLDS = np.concatenate([[MIN_IOU], THRESHOLDS])


@dataclass(frozen=True)
class LocalizationScores(TaskScores):
    """Predicted and true boxes, in pixels of the network input.

    Scores: ``ap40``, ``ap50``, ``ap50_95``, ``box_iou`` (of the best-scored box), ``cpm`` (mean sensitivity at 1/8 to 8
    false boxes per image), each a mean over the classes with a true box, and per class (``ap40/<class>``);
    ``froc_1_8`` to ``froc_8``: the sensitivity at one of those rates.

    Args:
        found: (N) predictions.
        truth: (N) true boxes.
    """

    found: Sequence[ImageBoxes]
    truth: Sequence[ImageBoxes]

    @cached_property
    def matches(self) -> list[ClassMatches]:
        """Every class matched at IoU 0.2 (FROC) and at the thresholds of AP."""
        return [
            match_boxes(self.found, self.truth, class_index=k, thresholds=_ALL_THRESHOLDS)
            for k in range(len(self.spec.classes))
        ]

    @cached_property
    def best_iou(self) -> NDArray[np.float64]:
        """IoU of the best-scored box, (N, K), NaN where there is no true box."""
        return iou_of_best_box(self.found, self.truth, num_classes=len(self.spec.classes))

    def _measure(self, counts: Counts) -> Measured:
        ap = np.stack([precision_at_thresholds(own, counts)[1:] for own in self.matches], axis=1)
        sensitivity = np.stack([sensitivity_at_rates(own, counts) for own in self.matches], axis=1)
        per_class = dict(zip(("ap40", "ap50", "ap50_95"), named_thresholds(ap), strict=True))
        per_class["box_iou"] = mean_where(self.best_iou, ~np.isnan(self.best_iou), counts)
        per_class["cpm"] = sensitivity.mean(axis=0)
        result = means(per_class)
        result |= means({f"froc_{name}": values for name, values in zip(RATE_NAMES, sensitivity, strict=True)})
        for name, values in per_class.items():
            result |= self.named(name, values)
        return result

    def select(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> LocalizationScores:
        """See :meth:`TaskScores.select`."""
        keep = np.arange(self.num_images)[chosen]
        return replace(
            self, rows=self.rows[keep], found=[self.found[i] for i in keep], truth=[self.truth[i] for i in keep]
        )
