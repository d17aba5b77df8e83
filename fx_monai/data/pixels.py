"""Pixels of an image file: (H, W), bone bright, never transposed."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from fx_monai.errors import DataError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

MAX_PIXELS = 200_000_000
# OpenCV resamples images of up to 2**15 pixels a side
MAX_SIDE = 32_000
DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES)

_EXPECTED = "a whole PNG, JPEG or DICOM image of one frame"
# what Pillow, pydicom and its decoders raise on files that are cut, empty or of another kind
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    AttributeError,
    LookupError,
    TypeError,
    EOFError,
    RuntimeError,
    InvalidDicomError,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)


def read_pixels(path: Path) -> Pixels:
    """Read an image as grey values with bone bright.

    8-bit PNG and JPEG keep their values (colour becomes grey); 16-bit files are multiplied so that their largest value
    becomes 65535 (files often hold 10 to 14 bits in 16). DICOM goes through modality LUT and VOI LUT (or window) and is
    stretched from its smallest and largest value to the whole 16-bit range. It is inverted once where its Presentation
    LUT Shape is INVERSE, or, without that attribute, its photometric interpretation MONOCHROME1 (DICOM PS3.3 C.11.6).

    Returns:
        (H, W), uint8 or uint16.

    Raises:
        DataError: missing, truncated, not an image, several frames, or more than 200 megapixels.
    """
    try:
        return _read_dicom(path) if is_dicom(path) else _read_picture(path)
    except DataError:
        raise
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its suffix or its magic word; a missing file is not."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if path.suffix.lower() in IMAGE_SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the file without decoding its pixels.

    Raises:
        DataError: missing or not an image.
    """
    try:
        if is_dicom(path):
            header = read_header(path)
            return int(header.Columns), int(header.Rows)
        with Image.open(path) as image:
            return image.size
    except DataError:
        raise
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def size_or_unknown(path: Path) -> tuple[int, int]:
    """Return (width, height), or (0, 0) for a file that can't be read: the image store lists it with the others."""
    try:
        return image_size(path)
    except DataError:
        return 0, 0


def read_header(path: Path) -> pydicom.Dataset:
    """Return the DICOM header without pixels.

    Raises:
        DataError: missing or not DICOM.
    """
    try:
        # public sets write ages and other values against the standard; readers check what they use
        with disable_value_validation():
            return pydicom.dcmread(path, stop_before_pixels=True)
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def header_spacing_mm(header: pydicom.Dataset) -> tuple[float, float] | None:
    """Return mm per pixel (x, y) of a DICOM header; None when absent or absurd (outside 0.01 to 5 mm)."""
    try:
        values = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
        y, x = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return (x, y) if 0.01 <= x <= 5 and 0.01 <= y <= 5 else None


def pixel_spacing_mm(path: Path) -> tuple[float, float] | None:
    """Return mm per pixel (x, y) when the file is DICOM and tells it."""
    return header_spacing_mm(read_header(path)) if is_dicom(path) else None


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Return 8-bit values; 16-bit values lose their low byte, so full range stays full range."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels >> 8).astype(np.uint8)


def _read_picture(path: Path) -> Pixels:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            _check_size(path, *image.size)
            if image.mode.startswith("I;16") or image.mode == "I":
                values = np.asarray(image)
                if values.min() < 0 or values.max() > 65535:
                    raise ValueError("values beyond 16 bit")
                return _full_range(values.astype(np.uint16))
            return np.asarray(image.convert("L"))


def _read_dicom(path: Path) -> NDArray[np.uint16]:
    dataset = pydicom.dcmread(path)
    _check_size(path, int(dataset.Columns), int(dataset.Rows))
    pixels: NDArray[Any] = dataset.pixel_array
    if pixels.ndim != 2:
        raise ValueError(f"shape {pixels.shape}")
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint16)
    values = (values - low) / (high - low)
    if _is_inverse(dataset):
        values = 1 - values
    return (values * 65535 + 0.5).astype(np.uint16)


def _is_inverse(dataset: pydicom.Dataset) -> bool:
    shape = dataset.get("PresentationLUTShape")
    return shape == "INVERSE" if shape else dataset.PhotometricInterpretation == "MONOCHROME1"


def _full_range(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Multiply so that the largest value becomes 65535; 0 stays 0 and nothing else becomes 0 (masks)."""
    highest = int(values.max())
    if highest in (0, 65535):
        return values
    return (values.astype(np.float32) * (65535 / highest) + 0.5).astype(np.uint16)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DataError(
            where=path.name,
            problem=f"the image has {width} x {height} pixels",
            expected=f"at most {MAX_PIXELS // 1_000_000} megapixels and {MAX_SIDE} pixels a side",
            remedy="Scale the image down",
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = f"unreadable ({type(error).__name__})"
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file"
    elif isinstance(error, Image.DecompressionBombError):
        reason = "the image has far more pixels than a radiograph"
    elif path.is_file() and path.stat().st_size == 0:
        reason = "the file is empty"
    return DataError(
        where=path.name, problem=reason, expected=_EXPECTED, remedy="Replace the file, or leave the image out"
    )
