"""NIfTI of one grey slice: the first axis runs along the columns, as ITK writes pictures; orientation isn't applied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fx_monai.data.formats.error import FormatError


def size(path: Path) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        FormatError: more than one slice.
    """
    shape = tuple(int(side) for side in nib.load(path).shape)
    if len(shape) < 2 or math.prod(shape[2:]) != 1:
        raise FormatError(f"the size is {' x '.join(map(str, shape))}, not one slice")
    return shape[0], shape[1]


def read(path: Path) -> NDArray[Any]:
    """Return (H, W) values, scaled as the header says.

    Raises:
        FormatError: more than one slice.
    """
    width, height = size(path)
    image = nib.load(path)
    stored = np.asanyarray(image.dataobj)
    return stored.reshape(width, height).T
