"""Pairs of images that are the same picture: candidates from the sieve, decided by alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fx_monai.data.duplicates.alignment import similarity
from fx_monai.data.duplicates.sieve import candidates, describe, low_frequencies, polarity, projection
from fx_monai.data.duplicates.thumbnail import is_blank

SAME = 0.77
PORTION = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, one entry each.

    Args:
        first, second: numbers of the images, first < second.
        mirrored: the one is the other's mirror image.
        inverted: the one is the other's negative.
        similarity: correlation of the fine structure, 1 = equal.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    inverted: NDArray[np.bool_]
    similarity: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.first)


def find_copies(thumbnails: NDArray[np.uint8], *, threshold: float = SAME, progress: Progress | None = None) -> Pairs:
    """Return all pairs of images that are one picture: resized, re-encoded, slightly cropped, brighter, inverted.

    Blank images are left out.

    Args:
        thumbnails: (n, 64, 64), see :func:`fx_monai.data.duplicates.thumbnail.rank_thumbnail`.
        threshold: least correlation of the fine structure.
        progress: called with (done, total) images.
    """
    shown = np.flatnonzero(~is_blank(thumbnails)).astype(np.int64)
    weights = projection()
    frequencies = low_frequencies(thumbnails[shown])
    signs = polarity(frequencies, weights)
    found = candidates(describe(frequencies, weights), weights.odd, progress=progress)
    kept: list[NDArray[Any]] = [np.zeros((0, 4))]
    for pairs in _gather(found, PORTION):
        score = _compare(thumbnails, shown, signs, pairs)
        kept.append(np.column_stack([pairs, score])[score >= threshold])
    best = _strongest(np.concatenate(kept))
    first, second = (best[:, column].astype(np.int64) for column in (0, 1))
    return Pairs(
        shown[first],
        shown[second],
        best[:, 2] == 1,
        signs[first] != signs[second],
        best[:, 3].astype(np.float32),
    )


def _gather(parts: Iterable[NDArray[np.int64]], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of many small arrays in portions of the given size."""
    waiting: list[NDArray[np.int64]] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= size:
            rows = np.concatenate(waiting)
            yield rows[:size]
            waiting = [rows[size:]]
    rest = sum(map(len, waiting))
    if rest:
        yield np.concatenate(waiting)


def _compare(
    thumbnails: NDArray[np.uint8], shown: NDArray[np.int64], signs: NDArray[np.float32], pairs: NDArray[np.int64]
) -> NDArray[np.float32]:
    first, second = (
        torch.from_numpy((thumbnails[shown[at]] / np.float32(255) - np.float32(0.5)) * signs[at, None, None])
        for at in (pairs[:, 0], pairs[:, 1])
    )
    mirrored = torch.from_numpy(pairs[:, 2] == 1)[:, None, None]
    return np.asarray(similarity(first, torch.where(mirrored, second.flip(2), second)).numpy())


def _strongest(rows: NDArray[Any]) -> NDArray[Any]:
    """Keep one row per pair: mirrored or not, whichever fits better."""
    order = np.lexsort((-rows[:, 3], rows[:, 1], rows[:, 0]))
    rows = rows[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    return np.asarray(rows[new])
