"""Pixels of an image file: (H, W), bone bright, never transposed."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.errors import InvalidDicomError

from fx_monai.data.formats import dicom, jsrt_raw, metaimage, nifti
from fx_monai.data.formats.error import FormatError
from fx_monai.errors import DataError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

MAX_PIXELS = 200_000_000
_OPENING = threading.Lock()
# OpenCV resamples images of up to 2**15 pixels a side
MAX_SIDE = 32_000
DICOM_SUFFIXES = (".dcm", ".dicom")
_BY_SUFFIX = {
    ".mha": metaimage,
    ".mhd": metaimage,
    ".nii": nifti,
    ".nii.gz": nifti,
    ".img": jsrt_raw,
    **dict.fromkeys(DICOM_SUFFIXES, dicom),
}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", *_BY_SUFFIX)

_EXPECTED = "a whole PNG, JPEG, GIF, DICOM, MetaImage or NIfTI image of one frame"
# what Pillow, pydicom, nibabel and their decoders raise on files that are cut, empty or of another kind
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
    ImageFileError,
    struct.error,
    zlib.error,
)


def read_pixels(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image as grey values with bone bright.

    8-bit files keep their values (colour becomes grey, transparency is ignored, JPEG is turned as its EXIF orientation
    says); 16-bit files are multiplied so that their largest value becomes 65535 (files often hold 10 to 14 bits in
    16); signed and floating-point values are stretched to the whole 16-bit range. DICOM goes through look-up tables and
    window, see :func:`fx_monai.data.formats.dicom.read`.

    Args:
        path: the file.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        (H, W), uint8 or uint16.

    Raises:
        DataError: missing, truncated, not an image, several frames, or too large.
    """
    try:
        module = _format(path)
        if module is None:
            return _read_picture(path, max_pixels)
        width, height = module.size(path)
        _check_size(path, width, height, max_pixels)
        return to_unsigned(module.read(path))
    except DataError:
        raise
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def is_image_name(path: Path) -> bool:
    """Return whether a file is an image by its suffix; DICOM files without one are found by :func:`is_dicom`."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its suffix or its magic word; a missing file is not."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if is_image_name(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the file without decoding its pixels.

    Raises:
        DataError: missing or not an image.
    """
    try:
        module = _format(path)
        if module is not None:
            width, height = module.size(path)
            return int(width), int(height)
        with _open_picture(path) as image:
            return image.size[::-1] if _is_turned(image) else image.size
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
        return dicom.header(path)
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def pixel_spacing_mm(path: Path) -> tuple[float, float] | None:
    """Return mm per pixel (x, y) when the file is DICOM and tells it."""
    return dicom.spacing_mm(read_header(path)) if is_dicom(path) else None


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Return 8-bit values; 16-bit values lose their low byte, so full range stays full range."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels >> 8).astype(np.uint8)


def to_uint16(pixels: Pixels) -> NDArray[np.uint16]:
    """Return 16-bit values; 8-bit values are stretched so that full range stays full range."""
    return pixels.astype(np.uint16, copy=False) * np.uint16(1 if pixels.dtype == np.uint16 else 257)


def _format(path: Path) -> ModuleType | None:
    """Return the module that reads a file, None for what Pillow reads."""
    if is_dicom(path):
        return dicom
    name = path.name.lower()
    return next((module for suffix, module in _BY_SUFFIX.items() if name.endswith(suffix)), None)


def _read_picture(path: Path, max_pixels: int) -> Pixels:
    with _open_picture(path) as image:
        _check_size(path, image.width, image.height, max_pixels)
        if getattr(image, "n_frames", 1) != 1:
            raise FormatError(f"the file has {image.n_frames} frames")  # type: ignore[attr-defined]
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            return to_unsigned(np.asarray(image))
        return np.asarray(ImageOps.exif_transpose(image).convert("L"))


def _open_picture(path: Path) -> Image.Image:
    """Read the header only. Pillow's own limit of size is off meanwhile: ours is checked next, and can be raised."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _is_turned(image: Image.Image) -> bool:
    """Return whether the EXIF orientation swaps width and height."""
    return image.getexif().get(0x0112, 1) >= 5


def to_unsigned(values: NDArray[Any]) -> Pixels:
    """Return 8-bit values as they are and others in the whole 16-bit range, 0 staying 0 where nothing is below.

    Raises:
        FormatError: values that are not finite.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise FormatError("values that are not finite")
    low, high = min(0.0, float(numbers.min())), float(numbers.max())
    if values.dtype == np.uint16 and high in (0, 65535):
        return values.astype(np.uint16, copy=False)
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint16)
    return ((numbers - low) * (65535 / (high - low)) + 0.5).astype(np.uint16)


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise DataError(
            where=path.name,
            problem=f"the image has {width} x {height} pixels",
            expected=f"at most {max_pixels / 1e6:g} megapixels and {MAX_SIDE} pixels a side",
            remedy="Scale the image down; predict raises the first limit with --max-megapixels",
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = f"unreadable ({type(error).__name__})"
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file"
    elif path.is_file() and path.stat().st_size == 0:
        reason = "the file is empty"
    elif isinstance(error, FormatError):
        reason = str(error)
    return DataError(
        where=path.name, problem=reason, expected=_EXPECTED, remedy="Replace the file, or leave the image out"
    )
