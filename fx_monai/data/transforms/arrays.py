"""What transforms take: NumPy arrays, torch tensors and MetaTensors; results are of the type that came."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray

from fx_monai.errors import ConfigError
from fx_monai.keys import IMAGE
from fx_monai.ops.affine import Matrix, to_index_matrix


def to_array(value: Any) -> NDArray[Any]:
    """Return a NumPy view of an array or tensor (a copy from another device)."""
    return value if isinstance(value, np.ndarray) else np.asarray(torch.as_tensor(value).detach().cpu())


def of_type(result: NDArray[Any], original: Any, matrix: Matrix | None = None) -> Any:
    """Return a result as the type of the original, with its metadata.

    Args:
        result: NumPy array.
        original: array or tensor it was made from.
        matrix: 2 x 3, from pixels of the original to those of the result; a MetaTensor's affine follows it.
    """
    if isinstance(original, np.ndarray):
        return result
    out = convert_to_dst_type(result, original, dtype=torch.from_numpy(result).dtype)[0]
    if matrix is not None and isinstance(out, MetaTensor):
        moved = to_affine_nd(len(out.affine) - 1, np.linalg.inv(to_index_matrix(matrix)))
        out.affine = out.affine @ torch.as_tensor(moved, dtype=out.affine.dtype)
    return out


def planes(image: NDArray[Any]) -> NDArray[Any]:
    """Return (..., H, W) as (C, H, W), without copying."""
    return image.reshape(-1, *image.shape[-2:])


def square_side(image: Any, transform: str) -> int:
    """Return the side of a (..., S, S) image.

    Raises:
        ConfigError: the image is not square.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise ConfigError(
            where=f"{transform}, '{IMAGE}'",
            problem=f"the image is {width} x {height}",
            expected="a square image",
            remedy="Put Letterboxd before it",
        )
    return int(width)
