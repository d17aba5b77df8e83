"""Reading radiographs inside MONAI's ``LoadImaged``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from fx_monai.data.pixels import Pixels, is_image_name, pixel_spacing_mm, read_pixels, to_uint8, to_uint16
from fx_monai.errors import DataError


class RadiographReader(ImageReader):
    """Reads an image as the image store does: (H, W), never transposed, bone bright, DICOM through its LUTs.

    For ``LoadImaged(keys, reader=RadiographReader(), dtype=np.uint8, ensure_channel_first=True)``; 16 bit need
    ``dtype=np.float32``, since PyTorch computes little with uint16. The affine holds the
    pixel spacing (rows, columns; mm) where the file tells it, else 1.

    Args:
        bits: 8 or 16 per pixel; full range stays full range.

    Raises:
        DataError: (when called) a file can't be read, or several are given at once.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        self.bits = bits

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Return whether the files are of a kind that is read."""
        return all(is_image_name(Path(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> tuple[Path, Pixels]:
        """Return the path and the pixels of one file."""
        names = ensure_tuple(data)
        if len(names) != 1:
            raise DataError(
                where=f"{names[0]} and others",
                problem=f"{len(names)} files for one image",
                expected="one file",
                remedy="Load them under keys of their own",
            )
        return Path(names[0]), read_pixels(Path(names[0]))

    def get_data(self, img: tuple[Path, Pixels]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return pixels, uint8 or uint16, and metadata of what :meth:`read` returned."""
        path, pixels = img
        values = to_uint8(pixels) if self.bits == 8 else to_uint16(pixels)
        x, y = pixel_spacing_mm(path) or (1.0, 1.0)
        meta = {
            MetaKeys.AFFINE: np.diag([y, x, 1.0]),
            MetaKeys.ORIGINAL_AFFINE: np.diag([y, x, 1.0]),
            MetaKeys.SPATIAL_SHAPE: np.asarray(values.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        }
        return values, meta
