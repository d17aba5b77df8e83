"""What an image is recognised by: a hash of its exact pixels and a thumbnail of grey-value ranks."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fx_monai.data.pixels import Pixels, to_uint8

SIDE = 64


def pixel_hash(pixels: Pixels) -> str:
    """Return a hash of the decoded pixels and their shape, 32 hex digits.

    Grey values are replaced by their place in the order of the values that occur, so that the same pixels in another
    bit depth, or under another strictly increasing look-up table, have the same hash.
    """
    occurs = np.bincount(pixels.ravel(), minlength=1) > 0
    places = (np.cumsum(occurs) - 1).astype(np.uint16)[pixels]
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(places).data)
    return digest.hexdigest()


def rank_thumbnail(pixels: Pixels) -> NDArray[np.uint8]:
    """Return (64, 64) ranks of the grey values, 0 to 255, of the image squeezed into a square.

    Ranks don't change with brightness, contrast or gamma; an inverted image has inverted ranks.
    """
    grey = to_uint8(pixels).astype(np.float32)
    shrinks = min(grey.shape) >= SIDE
    small: NDArray[Any] = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    ranks = rankdata(np.round(small, 1), method="average").reshape(SIDE, SIDE)
    return np.round((ranks - 0.5) / ranks.size * 255).astype(np.uint8)


def is_blank(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which thumbnails (n, 64, 64) show nothing: nine of ten pixels have one grey value."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    return np.array([np.bincount(row).max() > 0.9 * len(row) for row in flat], dtype=bool)
