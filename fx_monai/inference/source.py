"""An image before prediction: pixels, what its file says, and whether it is a frontal chest radiograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray

from fx_monai.data.formats import dicom
from fx_monai.data.formats.error import FormatError
from fx_monai.data.gate import Verdict
from fx_monai.data.gate.judge import combine
from fx_monai.data.gate.pixels import judge_pixels
from fx_monai.data.gate.tags import judge_tags
from fx_monai.data.letterbox import letterbox
from fx_monai.data.pixels import MAX_PIXELS, Pixels, is_dicom, read_header, read_pixels, to_uint8, to_unsigned
from fx_monai.errors import DataError
from fx_monai.files import file_sha256
from fx_monai.inference.result import ImageFacts

# rows to the patient's left, columns to the feet: how every frontal radiograph is displayed
_DISPLAYED = ("L", "F")
_IN_MEMORY = "image in memory"


@dataclass(frozen=True, eq=False)
class Source:
    """One image and what is known of it.

    Args:
        pixels: (H, W), uint8 or uint16, bone bright.
        facts: what stands in results.
        warnings: what a reader of the result has to know.
        path: None for pixels in memory.
        header: DICOM attributes without pixels; None for other files.
    """

    pixels: Pixels
    facts: ImageFacts
    warnings: tuple[str, ...] = ()
    path: Path | None = None
    header: pydicom.Dataset | None = None


def read_source(path: Path, *, any_image: bool = False, max_pixels: int = MAX_PIXELS) -> Source:
    """Read a file and judge it.

    Args:
        path: the file.
        any_image: take it whatever it shows.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: unreadable, or no frontal chest radiograph and not ``any_image``.
    """
    pixels = read_pixels(path, max_pixels=max_pixels)
    header = read_header(path) if is_dicom(path) else None
    spacing = dicom.spacing_mm(header) if header is not None else None
    kind = "dicom" if header is not None else path.suffix.lower().lstrip(".")
    return _judged(
        pixels, path.name, header, any_image, path=path, spacing_mm=spacing, format=kind, sha256=file_sha256(path)
    )


def source_of_array(
    image: NDArray[Any], *, spacing_mm: tuple[float, float] | None = None, any_image: bool = False
) -> Source:
    """Take pixels in memory.

    Args:
        image: (H, W), bone bright; uint8 is taken as it is, other types are stretched to the whole 16-bit range as
            :func:`fx_monai.data.pixels.read_pixels` says.
        spacing_mm: mm per pixel (x, y) when known.
        any_image: take it whatever it shows.

    Raises:
        DataError: another shape, values that aren't finite numbers, or no frontal chest radiograph and not
            ``any_image``.
    """
    values = np.asarray(image)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "uif":
        raise _no_image(f"its shape is {values.shape} and its type {values.dtype}")
    try:
        pixels = to_unsigned(values)
    except FormatError as error:
        raise _no_image(str(error)) from error
    return _judged(pixels, _IN_MEMORY, None, any_image, spacing_mm=spacing_mm)


def network_input(pixels: Pixels, side: int) -> torch.Tensor:
    """Return what the network reads: (H, W) pixels fitted into a square, (1, 1, S, S) float32 in [0, 1]."""
    return torch.from_numpy(letterbox(to_uint8(pixels), side)).to(torch.float32)[None, None] / 255


def _judged(
    pixels: Pixels,
    where: str,
    header: pydicom.Dataset | None,
    any_image: bool,
    *,
    path: Path | None = None,
    **facts: Any,
) -> Source:
    judgement = combine(judge_tags(header) if header is not None else None, judge_pixels(pixels))
    warnings = []
    if judgement.verdict is Verdict.REFUSED:
        if not any_image:
            raise DataError(
                where=where,
                problem=f"it is no frontal chest radiograph ({'; '.join(judgement.reasons)})",
                expected="a frontal chest radiograph, upright, bone bright",
                remedy="Leave it out, or take it all the same with --any-image (any_image=True)",
            )
        warnings.append("no frontal chest radiograph, predicted on demand: the numbers mean nothing")
    elif judgement.verdict is Verdict.UNCERTAIN:
        warnings.append(f"may be no frontal chest radiograph ({'; '.join(judgement.reasons)})")
    height, width = pixels.shape
    orientation = tuple(str(word).upper() for word in (header or {}).get("PatientOrientation") or ())
    if orientation and orientation != _DISPLAYED:
        warnings.append(
            f"the patient orientation is {'/'.join(orientation)} instead of L/F: sides may be exchanged or turned"
        )
    image = ImageFacts(width, height, verdict=judgement.verdict, reasons=judgement.reasons, **facts)
    return Source(pixels, image, tuple(warnings), path, header)


def _no_image(problem: str) -> DataError:
    return DataError(
        where=_IN_MEMORY,
        problem=problem,
        expected="finite grey values of the shape (height, width)",
        remedy="Give one grey image, or the path of a file",
    )
