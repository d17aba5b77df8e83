"""Calibration of probabilities: how far they are off, temperature scaling, operating thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from fx_monai.metrics.ranking import members

BINS = 15
MIN_IMAGES = 5
_LOG_TEMPERATURE = (np.log(0.05), np.log(20.0))


def probabilities(
    logits: NDArray[np.floating], *, exclusive: bool, temperatures: NDArray[np.floating] | float = 1.0
) -> NDArray[np.float64]:
    """Return probabilities of logits divided by temperatures: (N, K) -> (N, K); softmax over exclusive classes."""
    scaled = np.asarray(logits, dtype=np.float64) / temperatures
    return np.asarray(softmax(scaled, axis=1) if exclusive else expit(scaled))


def bin_of(probs: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """Return in which of so many bins of equal width probabilities lie; 1 lies in the last."""
    return np.minimum((probs * bins).astype(np.int64), bins - 1)


def calibration_error(
    probs: NDArray[np.floating], labels: NDArray[np.floating], counts: NDArray[np.float32], *, bins: int = BINS
) -> NDArray[np.float64]:
    """Return the expected calibration error of one class on every resample.

    Mean gap between predicted probability and observed frequency over bins of equal width, weighted by their images
    (Naeini et al., AAAI 2015), of the probability that the finding is present, not of the more likely of both answers.

    Args:
        probs: (N,) in [0, 1].
        labels: (N,): 1 present, 0 absent, anything else left out.
        counts: (N, R).
        bins: number of bins.

    Returns:
        (R,), NaN where a resample has no known image.
    """
    known = np.flatnonzero((labels == 0) | (labels == 1))
    at = bin_of(probs[known], bins)
    gap = members(at, known, (bins, len(labels)), probs[known] - labels[known]) @ counts
    total = counts[known].sum(axis=0)
    return np.abs(np.asarray(gap, dtype=np.float64)).sum(axis=0) / np.where(total > 0, total, np.nan)


def brier_score(
    probs: NDArray[np.floating], labels: NDArray[np.floating], counts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the mean squared error of one class's probabilities on every resample (Brier, 1950); as above."""
    known = (labels == 0) | (labels == 1)
    error = np.where(known, (probs - labels) ** 2, 0)
    total = counts[known].sum(axis=0)
    return error @ counts / np.where(total > 0, total, np.nan)


def fit_temperature(
    logits: NDArray[np.floating], labels: NDArray[np.floating], *, exclusive: bool = False
) -> float | None:
    """Return the temperature that makes the probabilities of held-out images likeliest, between 0.05 and 20.

    Source: Guo et al., ICML 2017. One temperature per finding, or one for all when exactly one class holds per image.
    It moves no probability across 0.5, so it can't mend a network that was trained on another share of positives.

    Args:
        logits: (N, K); K = 1 unless ``exclusive``.
        labels: (N, K): 1 present, 0 absent, anything else left out.
        exclusive: exactly one class holds per image.

    Returns:
        None when fewer than 5 images are positive or negative for a class.
    """
    if not all(enough(labels[:, k]) for k in range(labels.shape[1])):
        return None

    def loss(log_temperature: float) -> float:
        scaled = np.asarray(logits, dtype=np.float64) / np.exp(log_temperature)
        if exclusive:
            return float(-np.where(labels == 1, log_softmax(scaled, axis=1), 0).sum())
        likelihood = np.where(labels == 1, log_expit(scaled), np.where(labels == 0, log_expit(-scaled), 0))
        return float(-likelihood.sum())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded").x))


def fit_threshold(probs: NDArray[np.floating], labels: NDArray[np.floating]) -> float | None:
    """Return the probability from which a finding counts as present: highest sensitivity + specificity.

    Source: Youden, Cancer 1950. The threshold lies halfway to the next lower probability; of equally good ones the
    highest is taken.

    Args:
        probs: (N,) of held-out images.
        labels: (N,): 1 present, 0 absent, anything else left out.

    Returns:
        None when fewer than 5 images are positive or negative.
    """
    if not enough(labels):
        return None
    levels = np.unique(probs[(labels == 0) | (labels == 1)])[::-1]
    positive, negative = np.sort(probs[labels == 1]), np.sort(probs[labels == 0])
    sensitivity = 1 - np.searchsorted(positive, levels) / len(positive)
    specificity = np.searchsorted(negative, levels) / len(negative)
    best = int((sensitivity + specificity).argmax())
    return float(levels[best] if best + 1 == len(levels) else (levels[best] + levels[best + 1]) / 2)


def share_above(
    probs: NDArray[np.floating], chosen: NDArray[np.bool_], threshold: float, counts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the share of chosen images at or above a threshold on every resample, NaN where none is drawn."""
    total = counts[chosen].sum(axis=0, dtype=np.float64)
    return counts[chosen & (probs >= threshold)].sum(axis=0) / np.where(total > 0, total, np.nan)


def enough(labels: NDArray[np.floating]) -> bool:
    """Return whether at least 5 images are positive and 5 negative."""
    return int((labels == 1).sum()) >= MIN_IMAGES and int((labels == 0).sum()) >= MIN_IMAGES
