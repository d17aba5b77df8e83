"""Candidates for being the same image, out of all pairs: a short vector per image, compared exactly, in blocks.

The vector holds the low frequencies of the thumbnail, weighted so that what differs between patients counts and what
small crops, gamma and compression change doesn't (linear discriminant analysis over changed copies of public
radiographs; ``tests/benchmarks/audit.py --fit`` learns it). A mirror image changes the sign of the odd horizontal
frequencies alone, and inversion is undone beforehand, so one pass finds copies, mirrored and inverted copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from fx_monai.shipped import shipped_folder

FREQUENCIES = 10
THRESHOLD = 0.70
ROWS, COLUMNS = 1024, 2048
_BATCH = 4096

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Projection:
    """The learned weights.

    Args:
        mean: (63,) mean low frequencies of a radiograph, bone bright.
        matrix: (63, D) weights; every column is made of even or of odd horizontal frequencies alone.
    """

    mean: Floats
    matrix: Floats

    @property
    def odd(self) -> NDArray[np.bool_]:
        """Which columns a mirror image negates."""
        return np.asarray((self.matrix[odd_frequencies()] != 0).any(axis=0))


@cache
def projection() -> Projection:
    """Return the weights that come with the package."""
    with np.load(shipped_folder("configs") / "audit" / "sieve.npz") as file:
        return Projection(file["mean"], file["matrix"])


def save_projection(weights: Projection, path: Path) -> None:
    """Write learned weights."""
    np.savez(path, mean=weights.mean.astype(np.float32), matrix=weights.matrix.astype(np.float32))


def low_frequencies(thumbnails: NDArray[Any]) -> Floats:
    """Return the cosine coefficients (n, 63) of thumbnails (n, 64, 64), without the mean grey value."""
    found = np.empty((len(thumbnails), int(_kept().sum())), dtype=np.float32)
    for start in range(0, len(thumbnails), _BATCH):
        batch = thumbnails[start : start + _BATCH].astype(np.float32) / 255
        whole = dctn(batch, axes=(1, 2), norm="ortho")
        found[start : start + _BATCH] = whole[:, :FREQUENCIES, :FREQUENCIES][:, _kept()]
    return found


def odd_frequencies() -> NDArray[np.bool_]:
    """Return which of the 63 coefficients a mirror image negates."""
    return np.asarray(np.mgrid[:FREQUENCIES, :FREQUENCIES][1][_kept()] % 2 == 1)


def polarity(frequencies: Floats, weights: Projection) -> Floats:
    """Return 1 for images (n, 63) that look like a radiograph with bright bone, -1 for those that look inverted."""
    return np.where(frequencies @ weights.mean < 0, np.float32(-1), np.float32(1))


def describe(frequencies: Floats, weights: Projection) -> Floats:
    """Return unit vectors (n, D); the cosine of two says how alike two images are, whatever their polarity."""
    upright = frequencies * polarity(frequencies, weights)[:, None]
    vectors = (upright - weights.mean) @ weights.matrix
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def candidates(
    vectors: Floats,
    odd: NDArray[np.bool_],
    *,
    threshold: float = THRESHOLD,
    pair_of: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Yield (k, 3) arrays of first < second, mirrored (0 or 1) of all pairs at least as alike as the threshold.

    Args:
        vectors: (n, D), see :func:`describe`.
        odd: (D,), columns that a mirror image negates.
        threshold: least cosine.
        pair_of: (n,) optional group numbers; pairs inside one group are left out.
        progress: called with (done, total) rows.
    """
    even, other = (torch.from_numpy(np.ascontiguousarray(vectors[:, chosen])) for chosen in (~odd, odd))
    number = len(vectors)
    for top in range(0, number, ROWS):
        rows = slice(top, top + ROWS)
        for left in range(top, number, COLUMNS):
            columns = slice(left, left + COLUMNS)
            same = even[rows] @ even[columns].T
            sided = other[rows] @ other[columns].T
            best = torch.add(same, sided.abs())
            if float(best.max()) < threshold:
                continue
            found = torch.nonzero(best >= threshold)
            both = [
                torch.cat([found + torch.tensor([top, left]), torch.full((len(found), 1), mirrored)], dim=1)[hit]
                for mirrored in (0, 1)
                for hit in [_pick(same, found) + (-1) ** mirrored * _pick(sided, found) >= threshold]
            ]
            pairs = torch.cat(both).numpy()
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            if pair_of is not None:
                pairs = pairs[pair_of[pairs[:, 0]] != pair_of[pairs[:, 1]]]
            if len(pairs):
                yield pairs
        if progress:
            progress(min(top + ROWS, number), number)


def _pick(matrix: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return matrix[places[:, 0], places[:, 1]]


@cache
def _kept() -> NDArray[np.bool_]:
    vertical, horizontal = np.mgrid[:FREQUENCIES, :FREQUENCIES]
    total = vertical + horizontal
    return np.asarray((total > 0) & (total <= FREQUENCIES))
