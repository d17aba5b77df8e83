"""DICOM images of one frame: transfer syntaxes, look-up tables, windows, padding, polarity (PS3.3 C.7.6, C.11)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from fx_monai.data.formats.error import FormatError

# a radiograph of 200 megapixels in 16 bit; more is no radiograph
MAX_INFLATED_BYTES = 400_000_000
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_META_END = 144


def header(path: Path) -> pydicom.Dataset:
    """Return the attributes without pixels; what libraries raise on other files passes through."""
    return _load(path, stop_before_pixels=True)


def size(path: Path) -> tuple[int, int]:
    """Return (width, height).

    Raises:
        FormatError: no image, or several frames.
    """
    return _size(header(path))


def spacing_mm(attributes: pydicom.Dataset) -> tuple[float, float] | None:
    """Return mm per pixel (x, y) of the first attribute that tells a plausible one (0.01 to 5 mm), else None."""
    for name in _SPACINGS:
        try:
            y, x = (float(value) for value in attributes.get(name))
        except (TypeError, ValueError):
            continue
        if 0.01 <= x <= 5 and 0.01 <= y <= 5:
            return x, y
    return None


def read(path: Path) -> NDArray[np.uint16]:
    """Return (H, W), bone bright: modality LUT, VOI LUT or window, then stretched to the whole 16-bit range.

    Of several windows the first is taken, unless it is invalid or leaves a single grey. Pixels of the Pixel Padding
    Value don't count for the range and become black. The image is inverted once where its Presentation LUT Shape is
    INVERSE, or, without that attribute, its photometric interpretation MONOCHROME1. Colour becomes grey.

    Raises:
        FormatError: no image, or several frames.
    """
    dataset = _load(path, stop_before_pixels=False)
    width, height = _size(dataset)
    stored = _stored(path, dataset)
    if dataset.get("SamplesPerPixel", 1) == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _stretch(_to_grey(stored, dataset), None)
    if stored.shape != (height, width):
        raise FormatError(f"the pixels have the shape {stored.shape}")
    padding = _padding(stored, dataset)
    values = _windowed(_rescaled(stored, dataset), dataset, padding)
    pixels = _stretch(values, padding)
    if _is_inverse(dataset):
        pixels = 65535 - pixels
    if padding is not None:
        pixels[padding] = 0
    return pixels


def _load(path: Path, *, stop_before_pixels: bool) -> pydicom.Dataset:
    _check_inflation(path)
    # public sets write ages and other values against the standard; readers check what they use
    with disable_value_validation():
        # some archives leave out the preamble, or the file meta information
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
    if not dataset:
        raise FormatError("not a DICOM file")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _check_inflation(path: Path) -> None:
    """Refuse a deflated file that would unpack to more than a radiograph, before pydicom unpacks it whole."""
    with path.open("rb") as file:
        start = file.read(1024)
        if start[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in start:
            return
        file.seek(_META_END + int.from_bytes(start[_META_END - 4 : _META_END], "little"))
        unpacking, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        packed = file.read(1 << 16)
        while packed:
            total += len(unpacking.decompress(packed, 1 << 24))
            if total > MAX_INFLATED_BYTES:
                raise FormatError("the file unpacks to far more than a radiograph")
            packed = unpacking.unconsumed_tail or file.read(1 << 16)


def _size(attributes: pydicom.Dataset) -> tuple[int, int]:
    if "Rows" not in attributes or "Columns" not in attributes:
        raise FormatError("not a DICOM image")
    frames = int(attributes.get("NumberOfFrames") or 1)
    if frames != 1:
        raise FormatError(f"the file has {frames} frames")
    return int(attributes.Columns), int(attributes.Rows)


def _stored(path: Path, dataset: pydicom.Dataset) -> NDArray[Any]:
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and dataset.BitsStored > 8:
        return _decode_12_bit_jpeg(path, (int(dataset.Rows), int(dataset.Columns)))
    stored: NDArray[Any] = dataset.pixel_array
    return stored


def _decode_12_bit_jpeg(path: Path, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Decode with GDCM itself: it can, but pydicom doesn't ask it for this precision."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise FormatError("the JPEG data can't be decoded")
    # the wrapper gives bytes as text
    buffer = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, np.uint16).reshape(shape)


def _to_grey(stored: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[Any]:
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.dtype != np.uint8:
        stored = (stored >> max(0, int(stored.max()).bit_length() - 8)).astype(np.uint8)
    return np.asarray(Image.fromarray(stored, "RGB").convert("L"))


def _padding(stored: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[np.bool_] | None:
    """Return where the image is padded; None when it isn't, or when nothing else is in it."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    padding: NDArray[np.bool_] = (stored >= min(first, last)) & (stored <= max(first, last))
    return padding if padding.any() and not padding.all() else None


def _rescaled(stored: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[Any]:
    for item in (*(dataset.get("ModalityLUTSequence") or ()), *(dataset.get("VOILUTSequence") or ())):
        _widen(item)
    values: NDArray[Any] = apply_modality_lut(stored, dataset)
    return values


def _widen(table: pydicom.Dataset) -> None:
    """Turn a look-up table into one of 16-bit words, the form in which pydicom applies any number of entries."""
    entries, first, _ = table.LUTDescriptor
    if isinstance(table.LUTData, bytes) and len(table.LUTData) == (entries or 1 << 16):
        words = list(table.LUTData)
        del table.LUTData
        table.add_new("LUTData", "US", words)
    table.LUTDescriptor = [entries, first, 16]


def _windowed(values: NDArray[Any], dataset: pydicom.Dataset, padding: NDArray[np.bool_] | None) -> NDArray[Any]:
    tables, centers = dataset.get("VOILUTSequence") or (), np.atleast_1d(dataset.get("WindowCenter", 0))
    inside = slice(None) if padding is None else ~padding
    for index in range(max(len(tables), len(centers))):
        try:
            shown = np.asarray(apply_voi_lut(values, dataset, index=index))
        except (ValueError, TypeError, LookupError):
            continue
        if shown[inside].min() < shown[inside].max():
            return shown
    return values


def _stretch(values: NDArray[Any], padding: NDArray[np.bool_] | None) -> NDArray[np.uint16]:
    values = values.astype(np.float32)
    inside = values if padding is None else values[~padding]
    low, high = float(inside.min()), float(inside.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint16)
    return (((values - low) / (high - low)).clip(0, 1) * 65535 + 0.5).astype(np.uint16)


def _is_inverse(dataset: pydicom.Dataset) -> bool:
    shape = dataset.get("PresentationLUTShape")
    return shape == "INVERSE" if shape else dataset.PhotometricInterpretation == "MONOCHROME1"
