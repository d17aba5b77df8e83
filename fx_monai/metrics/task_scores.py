"""What the scores of all kinds have in common: predictions and truth of one task, measured on resamples of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fx_monai.metrics.resampling import Counts, Measured
from fx_monai.types import TaskSpec


@dataclass(frozen=True)
class TaskScores(ABC):
    """Predictions and truth of one task on N images.

    Args:
        spec: the task.
        rows: (N,) manifest row of each image.
    """

    spec: TaskSpec
    rows: NDArray[np.int64]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.rows)

    def measure(self, counts: Counts) -> Measured:
        """Return every score of the task on every resample, NaN where one isn't defined.

        A mean over classes is over those that are defined on all images. Where a resample leaves one of them undefined
        (no positive image drawn), its value over all images stands in: without it, a resample would score higher for
        having lost a rare and hard class.

        Args:
            counts: (N, R), how often a resample holds an image.

        Returns:
            name -> (R,); a name is a metric, or ``metric/class``.
        """
        whole = np.ones((self.num_images, 1), dtype=np.float32)
        measured = self._measure(np.hstack([whole, counts]))
        return {name: values[1:] for name, values in measured.items()}

    @abstractmethod
    def _measure(self, counts: Counts) -> Measured:
        """Return every score on every resample, of which the first holds every image once."""

    @abstractmethod
    def select(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> TaskScores:
        """Return the scores of some images, by (N,) bool or by indices in a new order."""

    def values(self) -> dict[str, float]:
        """Return every score over all images by name."""
        measured = self.measure(np.ones((self.num_images, 1), dtype=np.float32))
        return {name: float(value[0]) for name, value in measured.items()}

    def named(self, metric: str, per_class: NDArray[np.float64]) -> Measured:
        """Return ``metric/class`` for every class of a (K, R) array."""
        return {f"{metric}/{name}": values for name, values in zip(self.spec.classes, per_class, strict=True)}


def means(named: Mapping[str, NDArray[np.float64]]) -> Measured:
    """Return the mean over rows of every (K, R) array, whose first column is that of all images: name -> (R,).

    See :meth:`TaskScores.measure` for rows that aren't defined; NaN when none is.
    """
    result = {}
    for name, values in named.items():
        defined = values[~np.isnan(values[:, 0])]
        filled = np.where(np.isnan(defined), defined[:, :1], defined)
        result[name] = filled.mean(axis=0) if len(filled) else np.full(values.shape[1], np.nan)
    return result
