"""How well a map of one finding agrees with the boxes of it, beside what a map without knowledge would reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

MAP_SCORES = ("pointing", "energy", "pixel_auc", "chance")


def score_map(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> dict[str, float]:
    """Return the scores of one image by the names of :data:`MAP_SCORES`.

    ``pointing``: 1 when the highest value lies in a box (pointing game, Zhang et al., IJCV 2018; without its tolerance
    of 15 pixels). ``energy``: share of the positive values that lies in boxes (Score-CAM, Wang et al., CVPR Workshops
    2020); 0 where nothing is positive. ``pixel_auc``: area under the ROC curve of the pixels, in a box against outside,
    which needs no threshold; NaN where all pixels are on one side. ``chance``: share of the picture that boxes cover,
    what pointing and energy are for a map that knows nothing; of ``pixel_auc`` it is 0.5.

    Args:
        values: (P,) of the pixels of the picture, without what was padded.
        inside: (P,) which of them lie in a box.
    """
    positive = np.maximum(values, 0)
    total = float(positive.sum())
    return {
        # of equal maxima, the share that lies in a box
        "pointing": float(inside[values == values.max()].mean()),
        "energy": float(positive[inside].sum()) / total if total > 0 else 0.0,
        "pixel_auc": _auc(values, inside),
        "chance": float(inside.mean()),
    }


def _auc(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return the rank statistic of Mann and Whitney."""
    positive = int(inside.sum())
    negative = len(inside) - positive
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(values)[inside].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))
