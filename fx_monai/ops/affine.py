"""Affine maps of images: 2 x 3 matrices between pixel coordinates, and one resampling by them.

Coordinates are continuous with the origin at the top left corner of the first pixel.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def letterbox_matrix(width: int, height: int, side: int) -> Matrix:
    """Return the 2 x 3 matrix that fits a width x height image into a square, centred, aspect kept."""
    scale = side / max(width, height)
    return np.array([[scale, 0, (side - width * scale) / 2], [0, scale, (side - height * scale) / 2]])


def warp(image: NDArray[Any], matrix: Matrix, size: tuple[int, int]) -> NDArray[Any]:
    """Resample an image bilinearly, outside is 0.

    Args:
        image: (H, W).
        matrix: 2 x 3, from coordinates of the image to those of the result.
        size: (width, height) of the result.
    """
    # OpenCV counts from pixel centres
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR)


def to_index_matrix(matrix: Matrix) -> Matrix:
    """Return the 3 x 3 matrix that does the same to array indices (row, column), counted from pixel centres."""
    full = np.eye(3)
    full[:2] = matrix
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    return swap @ np.linalg.inv(centre) @ full @ centre @ swap
