"""Bootstrap by patient: how often a resample holds each image, and intervals of what is measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Counts = NDArray[np.float32]
Measured = dict[str, NDArray[np.float64]]

RESAMPLES = 1000
CONFIDENCE = 0.95
_BLOCK = 4_000_000


def patient_counts(patients: Sequence[str] | NDArray[np.generic], *, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield blocks of resamples: (N, R) float32, how often each resample holds an image.

    Patients are drawn with replacement, as many as there are, and bring all their images (cluster bootstrap: Davison &
    Hinkley, Bootstrap Methods, 1997, section 3.8), since images of one patient are alike. The same patients, number and
    seed give the same resamples, which is what a paired comparison needs.

    Args:
        patients: (N,), one per image; an image of unknown patient needs a value of its own.
        resamples: number of resamples.
        seed: of the draws.
    """
    distinct, own = np.unique(np.asarray(patients), return_inverse=True)
    generator = np.random.default_rng(seed)
    width = max(1, _BLOCK // max(1, len(own)))
    for start in range(0, resamples, width):
        drawn = np.empty((len(distinct), min(width, resamples - start)), dtype=np.float32)
        for column in range(drawn.shape[1]):
            picked = generator.integers(0, len(distinct), len(distinct))
            drawn[:, column] = np.bincount(picked, minlength=len(distinct))
        yield drawn[own]


def bootstrap(
    measure: Callable[[Counts], Measured],
    patients: Sequence[str] | NDArray[np.generic],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Measured:
    """Return what is measured on every resample: name -> (resamples,).

    Args:
        measure: maps counts (N, R) to name -> (R,).
        patients: (N,), one per image.
        resamples: number of resamples.
        seed: of the draws.
    """
    blocks = [measure(counts) for counts in patient_counts(patients, resamples=resamples, seed=seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} if blocks else {}


def interval(values: NDArray[np.float64], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile interval of resampled values.

    Resamples on which the value isn't defined (no positive image drawn) are left out; NaN when fewer than half are
    defined, since the others would speak for the lucky draws only.
    """
    defined = values[~np.isnan(values)]
    if not len(defined) or 2 * len(defined) < len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def student_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Student's interval of the mean of repeated measurements (draws, seeds); NaN for fewer than two."""
    defined = np.array([value for value in values if not np.isnan(value)])
    if len(defined) < 2:
        return float("nan"), float("nan")
    reach = stats.t.ppf((1 + confidence) / 2, len(defined) - 1) * defined.std(ddof=1) / np.sqrt(len(defined))
    return float(defined.mean() - reach), float(defined.mean() + reach)
