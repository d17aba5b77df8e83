"""Masks of a record as pixels, whatever their encoding in the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.manifest import Mask, Record
from fx_monai.data.pixels import read_pixels
from fx_monai.errors import DataError
from fx_monai.ops.masks import CocoRLE, MaskArray, checked_coco_rle, decode_coco_rle, polygons_to_coco

# a file is a scaled copy of the annotation frame; more difference of aspect means another image
ASPECT_TOLERANCE = 0.02


def aspect_difference(size: tuple[int, int], frame: tuple[int, int]) -> float:
    """Return by which fraction width over height of a (width, height) size differs from a frame's."""
    return abs(size[0] * frame[1] / (size[1] * frame[0]) - 1)


def check_aspect(pixels: NDArray[Any], frame: tuple[int, int], *, where: str, what: str) -> None:
    """Refuse (H, W) pixels that are no scaled copy of a (width, height) frame.

    Raises:
        DataError: width over height differs by more than :data:`ASPECT_TOLERANCE`.
    """
    height, width = pixels.shape
    if aspect_difference((width, height), frame) > ASPECT_TOLERANCE:
        raise DataError(
            where=where,
            problem=f"the {what} is {width} x {height}, the annotations are for {frame[0]} x {frame[1]}",
            expected="the same aspect",
            remedy="Take the file that was annotated",
        )


def rasterise(mask: Mask, record: Record, root: Path) -> MaskArray:
    """Return a mask as (H, W) pixels, of the annotation frame or (``file``) of the mask file.

    Raises:
        DataError: a mask file can't be read or has another aspect, a crop leaves the frame, run lengths don't fill it,
            or the encoding is unknown.
    """
    where = f"{record.dataset}, image {record.image_id}, {mask.encoding} mask"
    frame = (record.width, record.height)
    try:
        if mask.encoding == "coco_rle":
            return _from_rle(json.loads(mask.data), frame, where)
        if mask.encoding == "polygon":
            return decode_coco_rle(polygons_to_coco(json.loads(mask.data), height=record.height, width=record.width))
        if mask.encoding == "file":
            pixels = read_pixels(root / mask.data)
            check_aspect(pixels, frame, where=Path(mask.data).name, what="mask")
            return (pixels > 0).astype(np.uint8)
        if mask.encoding == "file_crop":
            return _from_crop(json.loads(mask.data), frame, root, where)
    except (ValueError, KeyError, TypeError) as error:
        raise _bad_mask(where, f"damaged data ({type(error).__name__})", "what the manifest's schema says") from error
    raise _bad_mask(where, "an unknown encoding", "coco_rle, polygon, file or file_crop")


def _from_rle(rle: CocoRLE, frame: tuple[int, int], where: str) -> MaskArray:
    height, width = rle["size"]
    if (width, height) != frame:
        raise _bad_mask(where, f"it is {width} x {height}", f"{frame[0]} x {frame[1]}, the annotation frame")
    return decode_coco_rle(checked_coco_rle(rle, where=where))


def _from_crop(crop: dict[str, Any], frame: tuple[int, int], root: Path, where: str) -> MaskArray:
    left, top, width, height = (int(crop[name]) for name in ("left", "top", "width", "height"))
    inner = read_pixels(root / crop["path"]) > 0
    if inner.shape != (height, width):
        raise _bad_mask(where, f"the file is {inner.shape[1]} x {inner.shape[0]}", f"{width} x {height}, as noted")
    if left < 0 or top < 0 or left + width > frame[0] or top + height > frame[1]:
        raise _bad_mask(
            where,
            f"{width} x {height} pixels at ({left}, {top}) leave the frame",
            f"a place inside {frame[0]} x {frame[1]}",
        )
    full = np.zeros((frame[1], frame[0]), dtype=np.uint8)
    full[top : top + height, left : left + width] = inner
    return full


def _bad_mask(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Index the dataset again")
