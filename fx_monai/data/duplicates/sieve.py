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
# a tile of float32 fits a processor's cache
ROWS, COLUMNS = 256, 1024
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
    vectors: Floats, odd: NDArray[np.bool_], *, threshold: float = THRESHOLD, progress: Progress | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield (k, 3) arrays of first < second, mirrored (0 or 1) of all pairs at least as alike as the threshold.

    Args:
        vectors: (n, D), see :func:`describe`.
        odd: (D,), columns that a mirror image negates.
        threshold: least cosine.
        progress: called with (done, total) pairs.
    """
    even, sided = (torch.from_numpy(np.ascontiguousarray(vectors[:, chosen])) for chosen in (~odd, odd))
    number = len(vectors)
    sums, differences = torch.empty(2, ROWS, COLUMNS)
    done, total = 0, number * (number + 1) // 2
    for top in range(0, number, ROWS):
        rows = slice(top, min(top + ROWS, number))
        for left in range(top, number, COLUMNS):
            columns = slice(left, min(left + COLUMNS, number))
            place = slice(rows.stop - top), slice(columns.stop - left)
            same = torch.mm(even[rows], even[columns].T, out=sums[place])
            other = torch.mm(sided[rows], sided[columns].T, out=differences[place])
            # the larger of same + other (as it is) and same - other (mirrored)
            best = same.add_(other.abs_())
            if float(best.amax()) >= threshold:
                pairs = torch.nonzero(best >= threshold) + torch.tensor([top, left])
                yield from _oriented(pairs[pairs[:, 0] < pairs[:, 1]], even, sided, threshold)
        done += (rows.stop - top) * (number - top) - (rows.stop - top) * (rows.stop - top - 1) // 2
        if progress:
            progress(done, total)


def _oriented(
    pairs: torch.Tensor, even: torch.Tensor, sided: torch.Tensor, threshold: float
) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs that pass as they are, then those that pass mirrored."""
    same, other = ((part[pairs[:, 0]] * part[pairs[:, 1]]).sum(dim=1) for part in (even, sided))
    for mirrored, cosine in enumerate((same + other, same - other)):
        passed = pairs[cosine >= threshold]
        if len(passed):
            yield torch.cat([passed, torch.full((len(passed), 1), mirrored)], dim=1).numpy()


@cache
def _kept() -> NDArray[np.bool_]:
    vertical, horizontal = np.mgrid[:FREQUENCIES, :FREQUENCIES]
    total = vertical + horizontal
    return np.asarray((total > 0) & (total <= FREQUENCIES))
