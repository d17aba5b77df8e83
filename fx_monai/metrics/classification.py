"""Scores of image-level findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.calibration import (
    brier_score,
    calibration_error,
    fit_temperature,
    fit_threshold,
    probabilities,
    share_above,
)
from fx_monai.metrics.ranking import Ranking, rank
from fx_monai.metrics.resampling import Counts, Measured
from fx_monai.metrics.task_scores import TaskScores, means
from fx_monai.models.card import Calibration
from fx_monai.types import Task


@dataclass(frozen=True)
class ClassificationScores(TaskScores):
    """Logits and labels.

    Scores: ``auc_macro``, ``ap_macro`` (average precision), ``ece_macro``, ``brier_macro`` and the same per class
    (``auc/<class>``). With a calibration also ``ece_calibrated``, ``brier_calibrated`` (and per class), and
    ``sensitivity/<class>``, ``specificity/<class>`` at the operating threshold.

    Args:
        logits: (N, K).
        labels: (N, K): 1 present, 0 absent, anything else left out.
        calibration: fitted on validation; None = there is none.
        other_heads: logits (N, K of that head) of other datasets' heads on these images.
    """

    logits: NDArray[np.floating]
    labels: NDArray[np.floating]
    calibration: Calibration | None = None
    other_heads: Mapping[Task, NDArray[np.floating]] = field(default_factory=dict)

    @cached_property
    def probs(self) -> NDArray[np.float64]:
        """Probabilities as the network gives them, (N, K)."""
        return probabilities(self.logits, exclusive=self.spec.exclusive)

    @cached_property
    def calibrated(self) -> NDArray[np.float64]:
        """Probabilities after temperature scaling where a finding has a temperature, (N, K)."""
        assert self.calibration is not None
        own = np.array([temperature or 1.0 for temperature in self.calibration.temperatures])
        return probabilities(self.logits, exclusive=self.spec.exclusive, temperatures=own)

    @cached_property
    def ranking(self) -> list[Ranking | None]:
        """Every class sorted; exclusive classes by probability, others by logit, which has fewer ties."""
        scores = self.probs if self.spec.exclusive else self.logits
        return [rank(scores[:, k], self.labels[:, k]) for k in range(len(self.spec.classes))]

    def _measure(self, counts: Counts) -> Measured:
        undefined = (np.full(counts.shape[1], np.nan),) * 2
        ranked = [undefined if item is None else item.auc_and_ap(counts) for item in self.ranking]
        per_class = {
            "auc": np.stack([auc for auc, _ in ranked]),
            "ap": np.stack([ap for _, ap in ranked]),
            "ece": self._each(calibration_error, self.probs, counts),
            "brier": self._each(brier_score, self.probs, counts),
        }
        result = means({f"{name}_macro": values for name, values in per_class.items()})
        if self.calibration is not None and any(self.calibration.temperatures):
            after = {
                "ece_calibrated": self._each(calibration_error, self.calibrated, counts),
                "brier_calibrated": self._each(brier_score, self.calibrated, counts),
            }
            result |= means(after)
            per_class |= after
        for name, values in per_class.items():
            result |= self.named(name, values)
        return result | dict(self._at_threshold(counts))

    def select(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> ClassificationScores:
        """See :meth:`TaskScores.select`."""
        # a copy starts without the cached properties
        return replace(
            self,
            rows=self.rows[chosen],
            logits=self.logits[chosen],
            labels=self.labels[chosen],
            other_heads={task: logits[chosen] for task, logits in self.other_heads.items()},
        )

    def _each(
        self,
        function: Callable[[NDArray[np.floating], NDArray[np.floating], Counts], NDArray[np.float64]],
        probs: NDArray[np.float64],
        counts: Counts,
    ) -> NDArray[np.float64]:
        return np.stack([function(probs[:, k], self.labels[:, k], counts) for k in range(probs.shape[1])])

    def _at_threshold(self, counts: Counts) -> Iterator[tuple[str, NDArray[np.float64]]]:
        if self.calibration is None:
            return
        for k, (name, threshold) in enumerate(zip(self.spec.classes, self.calibration.thresholds, strict=True)):
            if threshold is None:
                continue
            labels, probs = self.labels[:, k], self.calibrated[:, k]
            yield f"sensitivity/{name}", share_above(probs, labels == 1, threshold, counts)
            yield f"specificity/{name}", 1 - share_above(probs, labels == 0, threshold, counts)


def fit_calibration(scores: ClassificationScores) -> Calibration:
    """Fit temperatures and operating thresholds on a split that is not the one to be reported (validation)."""
    logits, labels = scores.logits, scores.labels
    temperatures: list[float | None]
    if scores.spec.exclusive:
        temperatures = [fit_temperature(logits, labels, exclusive=True)] * labels.shape[1]
    else:
        temperatures = [fit_temperature(logits[:, k : k + 1], labels[:, k : k + 1]) for k in range(labels.shape[1])]
    scaled = replace(scores, calibration=Calibration(tuple(temperatures), (None,) * len(temperatures), len(labels)))
    thresholds = [fit_threshold(scaled.calibrated[:, k], labels[:, k]) for k in range(labels.shape[1])]
    return Calibration(tuple(temperatures), tuple(thresholds), len(labels))
