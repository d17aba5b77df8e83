"""JSRT ``.IMG``: 2048 x 2048 big-endian 16-bit values without a header, 12 bits used, high = dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.formats.error import FormatError

SIDE = 2048
HIGHEST = 4095


def size(path: Path) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        FormatError: the file hasn't the length of such an image.
    """
    found, expected = path.stat().st_size, SIDE * SIDE * 2
    if found != expected:
        raise FormatError(f"the file has {found} bytes, a JSRT image has {expected}")
    return SIDE, SIDE


def read(path: Path) -> NDArray[np.uint16]:
    """Return (2048, 2048) values of 0 to 4095, bone bright; values above 4095 count as 4095.

    Raises:
        FormatError: the file hasn't the length of such an image.
    """
    size(path)
    values = np.fromfile(path, dtype=">u2").reshape(SIDE, SIDE)
    return (HIGHEST - np.minimum(values, HIGHEST)).astype(np.uint16)
