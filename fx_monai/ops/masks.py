"""Masks: run-length dialects, polygons, bounding boxes.

All masks are (H, W) uint8 arrays with 0 and 1. The stored form is COCO compressed run-length encoding (RLE):
a dict ``{"size": [H, W], "counts": str}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from fx_monai.errors import DataError

MaskArray = NDArray[np.uint8]
CocoRLE = dict[str, Any]


def encode_coco_rle(mask: NDArray[Any]) -> CocoRLE:
    """Encode a (H, W) mask, non-zero = inside, as COCO compressed RLE with ``counts`` as text."""
    rle = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_coco_rle(rle: CocoRLE) -> MaskArray:
    """Decode COCO compressed RLE to a (H, W) uint8 mask."""
    return cast(MaskArray, coco_mask.decode(cast(Any, rle)))


def union_coco_rle(rles: Sequence[CocoRLE]) -> CocoRLE:
    """Return the union of several COCO RLE masks of the same size."""
    merged = coco_mask.merge(cast(Any, list(rles)))
    return {"size": [int(side) for side in merged["size"]], "counts": merged["counts"].decode("ascii")}


def relative_rle_to_coco(text: str, *, height: int, width: int, where: str) -> CocoRLE:
    """Convert the SIIM-ACR / CANDID-PTX dialect to COCO RLE.

    The text holds pairs ``gap length``: the gap counts from the END of the previous run, pixels are scanned
    column by column from the top left. It equals COCO's uncompressed counts without the last background run.

    Args:
        text: whitespace-separated integers.
        height: of the annotation frame in pixels.
        width: of the annotation frame in pixels.
        where: file and row, for the error message.

    Raises:
        DataError: odd number of integers, not an integer, a negative one, or a run beyond the frame.
    """
    counts = _integers(text, where)
    if len(counts) % 2:
        raise _bad_rle(where, f"{len(counts)} numbers", "pairs of gap and length")
    if min(counts, default=0) < 0:
        raise _bad_rle(where, f"negative number {min(counts)}", "gaps and lengths of at least 0")
    return _from_uncompressed(counts, height, width, where)


def uncompressed_to_coco(rle: CocoRLE, *, where: str) -> CocoRLE:
    """Convert COCO uncompressed RLE (``counts`` is a list that starts with background) to compressed.

    Raises:
        DataError: the counts don't add up to the size.
    """
    height, width = rle["size"]
    if sum(rle["counts"]) != height * width or min(rle["counts"], default=0) < 0:
        raise _bad_rle(where, f"counts add up to {sum(rle['counts'])}", f"{width} x {height} = {width * height} pixels")
    compressed = coco_mask.frPyObjects(cast(Any, rle), height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode("ascii")}


def checked_coco_rle(rle: CocoRLE, *, where: str) -> CocoRLE:
    """Return a compressed COCO RLE after checking that its runs fill the frame exactly.

    The decoder itself doesn't check: damaged text would write beyond the mask's memory.

    Raises:
        DataError: not such text, or runs that don't add up to the size.
    """
    height, width = rle["size"]
    counts: list[int] = []
    value = shift = 0
    for letter in str(rle["counts"]):
        # five bits a letter, least significant first; bit 5 tells that more follow; from the third run on, differences
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not 0 <= bits < 64 or shift > 60:
            raise _bad_rle(where, f"run-length text with the letter {letter!r}", "COCO compressed run lengths")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift or sum(counts) != height * width or min(counts, default=0) < 0:
        raise _bad_rle(where, f"runs add up to {sum(counts)}", f"{width} x {height} = {width * height} pixels")
    return {"size": [height, width], "counts": rle["counts"]}


def absolute_rle_to_coco(text: str, *, height: int, width: int, where: str) -> CocoRLE:
    """Convert the CheXmask dialect to COCO RLE: pairs ``start length``, start 1-based, scanned row by row.

    Raises:
        DataError: odd number of integers, not an integer, or a run outside the frame.
    """
    numbers = np.asarray(_integers(text, where), dtype=np.int64)
    if len(numbers) % 2:
        raise _bad_rle(where, f"{len(numbers)} numbers", "pairs of start and length")
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    if len(starts) and (starts.min() < 0 or lengths.min() < 0 or (starts + lengths).max() > height * width):
        raise _bad_rle(where, "a run outside the frame", f"runs inside {width} x {height} pixels")
    return _from_uncompressed(_transposed(starts, starts + lengths, height, width), height, width, where)


def encode_relative_rle(mask: NDArray[Any]) -> str:
    """Write a (H, W) mask in the SIIM-ACR / CANDID-PTX dialect; an empty mask is ``"-1"``."""
    flat = np.flatnonzero(np.diff(np.concatenate([[0], (mask != 0).T.ravel().astype(np.int8), [0]])))
    if not len(flat):
        return "-1"
    return " ".join(str(step) for step in np.diff(np.concatenate([[0], flat])))


def encode_absolute_rle(mask: NDArray[Any]) -> str:
    """Write a (H, W) mask in the CheXmask dialect; an empty mask is ``""``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (mask != 0).ravel().astype(np.int8), [0]])))
    return " ".join(f"{start + 1} {end - start}" for start, end in edges.reshape(-1, 2))


def polygons_to_coco(polygons: Sequence[Sequence[float]], *, height: int, width: int) -> CocoRLE:
    """Fill polygons, each a flat list x1, y1, x2, y2, ... in pixels of the frame, and return their union."""
    return union_coco_rle(coco_mask.frPyObjects(cast(Any, [list(p) for p in polygons]), height, width))


def mask_to_box(mask: NDArray[Any]) -> tuple[float, float, float, float] | None:
    """Return the bounding box (x1, y1, x2, y2) in pixels, right and bottom exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def coco_rle_to_box(rle: CocoRLE) -> tuple[float, float, float, float] | None:
    """Return what :func:`mask_to_box` does, without decoding the mask."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(cast(Any, rle)))
    return (x, y, x + width, y + height) if width else None


def _transposed(starts: NDArray[np.int64], ends: NDArray[np.int64], height: int, width: int) -> list[int]:
    """Return runs of a row by row scan as COCO's counts, which go column by column; the cost is that of the outline."""
    filled = ends > starts
    order = np.argsort(starts[filled])
    starts, ends = starts[filled][order], np.maximum.accumulate(ends[filled][order])
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]
    edges = np.stack([starts, ends], axis=1).ravel()
    # stretches of pixels that differ from the pixel above; below the last row the outside begins again
    stretches = np.setxor1d(edges, edges + width, assume_unique=True).reshape(-1, 2)
    lengths = stretches[:, 1] - stretches[:, 0]
    pixels = np.arange(lengths.sum()) + np.repeat(stretches[:, 0] - np.cumsum(lengths) + lengths, lengths)
    toggles, times = np.unique(pixels % width * height + pixels // width, return_counts=True)
    # a run that ends with its column and one that begins with the next are one
    toggles = toggles[times % 2 == 1]
    counts: list[int] = np.diff(toggles, prepend=0).tolist()
    return counts


def _from_uncompressed(counts: list[int], height: int, width: int, where: str) -> CocoRLE:
    rest = height * width - sum(counts)
    if rest < 0:
        raise _bad_rle(where, f"runs end {-rest} pixels beyond the frame", f"runs inside {width} x {height} pixels")
    rle = coco_mask.frPyObjects(
        cast(Any, {"size": [height, width], "counts": [*counts, *([rest] if rest else [])]}), height, width
    )
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _integers(text: str, where: str) -> list[int]:
    try:
        return list(map(int, text.split()))
    except ValueError as error:
        raise _bad_rle(
            where, f"not a number in the run-length text ({error})", "whitespace-separated integers"
        ) from None


def _bad_rle(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Check the annotation file's row")
