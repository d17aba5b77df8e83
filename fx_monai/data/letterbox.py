"""Fitting an image of any size into the square of the image store."""

from __future__ import annotations

from typing import Any

import cv2
from numpy.typing import NDArray

from fx_monai.ops.affine import letterbox_matrix, warp


def letterbox(
    pixels: NDArray[Any], size: int, *, aspect: tuple[int, int] | None = None, nearest: bool = False
) -> NDArray[Any]:
    """Fit an image into a square of the given side, centred, aspect kept, padded with 0.

    Args:
        pixels: (H, W).
        size: side in pixels.
        aspect: (width, height) of the frame the image is a copy of; default: the image's own.
        nearest: nearest neighbour instead of area averaging (masks).
    """
    height, width = pixels.shape
    frame_width, frame_height = aspect or (width, height)
    matrix = letterbox_matrix(frame_width, frame_height, size)
    matrix[0, 0] *= frame_width / width
    matrix[1, 1] *= frame_height / height
    if not nearest and matrix[0, 0] < 1:
        # average over the source pixels first, so that nothing is missed; the rest is a sub-pixel shift
        small = cv2.resize(
            pixels,
            (max(1, round(width * matrix[0, 0])), max(1, round(height * matrix[1, 1]))),
            interpolation=cv2.INTER_AREA,
        )
        matrix[0, 0] *= width / small.shape[1]
        matrix[1, 1] *= height / small.shape[0]
        pixels = small
    return warp(pixels, matrix, (size, size))
