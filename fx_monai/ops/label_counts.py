"""How many labels say yes and how many say no."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelCounts:
    """Labels of each class; unknown ones are left out, a smoothed one (0.7) is shared between both.

    Args:
        positive: (K,).
        negative: (K,).
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]

    @classmethod
    def of(cls, labels: NDArray[np.float32]) -> LabelCounts:
        """Count (N, K) labels from 0 to 1, NaN unknown."""
        return cls(np.nansum(labels, axis=0, dtype=np.float64), np.nansum(1 - labels, axis=0, dtype=np.float64))
