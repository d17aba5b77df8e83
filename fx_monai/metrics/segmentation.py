"""Scores of masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.dice import iou_of_dice, mean_where
from fx_monai.metrics.resampling import Counts, Measured
from fx_monai.metrics.task_scores import TaskScores, means


@dataclass(frozen=True)
class SegmentationScores(TaskScores):
    """Per image and class how well the mask fits; the masks themselves are not kept.

    Scores: ``dice``, ``iou``, ``hd95_px`` (pixels of the network input) and, where the spacing is known, ``hd95_mm``,
    each as ``dice_all`` over all annotated images and as ``dice_positive`` over the images that show the class, mean
    over classes and per class (``dice_positive/<class>``). What empty masks count:
    :func:`fx_monai.metrics.dice.dice_per_image`, :func:`fx_monai.metrics.surface.hd95_per_image`.

    Args:
        dice: (N, K).
        hd95_px: (N, K); None = not measured.
        present: (N, K) bool, the true mask is not empty.
        annotated: (N, K) bool, somebody looked for the class.
        spacing_mm: (N,) mm per pixel of the network input, NaN where unknown; None = nowhere known.
    """

    dice: NDArray[np.float64]
    present: NDArray[np.bool_]
    annotated: NDArray[np.bool_]
    hd95_px: NDArray[np.float64] | None = None
    spacing_mm: NDArray[np.float64] | None = None

    def _measure(self, counts: Counts) -> Measured:
        per_class = {}
        for name, (values, known) in self._per_image().items():
            chosen = self.annotated & known[:, None]
            per_class[f"{name}_all"] = mean_where(values, chosen, counts)
            per_class[f"{name}_positive"] = mean_where(values, chosen & self.present, counts)
        result = means(per_class)
        for name, values in per_class.items():
            result |= self.named(name, values)
        return result

    def _per_image(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        everywhere = np.ones(self.num_images, dtype=bool)
        result = {"dice": (self.dice, everywhere), "iou": (iou_of_dice(self.dice), everywhere)}
        if self.hd95_px is not None:
            result["hd95_px"] = (self.hd95_px, everywhere)
            if self.spacing_mm is not None and not np.isnan(self.spacing_mm).all():
                result["hd95_mm"] = (self.hd95_px * self.spacing_mm[:, None], ~np.isnan(self.spacing_mm))
        return result

    def select(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> SegmentationScores:
        """See :meth:`TaskScores.select`."""
        return replace(
            self,
            rows=self.rows[chosen],
            dice=self.dice[chosen],
            present=self.present[chosen],
            annotated=self.annotated[chosen],
            hd95_px=None if self.hd95_px is None else self.hd95_px[chosen],
            spacing_mm=None if self.spacing_mm is None else self.spacing_mm[chosen],
        )
