"""What a DICOM header tells about patient and acquisition, in the manifest's coding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pydicom
from pydicom.config import disable_value_validation

from fx_monai.data.formats.dicom import spacing_mm
from fx_monai.data.pixels import read_header
from fx_monai.data.readers.tables import age_years, sex, spacing, view
from fx_monai.errors import DataError


def patient_tags(path: Path, *, frame_width: int) -> dict[str, Any]:
    """Return view, sex, age and pixel spacing (of the annotation frame) from a header.

    Args:
        path: DICOM file.
        frame_width: of the annotation frame in pixels; the file may be a scaled copy.
    """
    with disable_value_validation():
        return _tags(read_header(path), frame_width)


def frame_tags(path: Path) -> dict[str, Any]:
    """Return what :func:`patient_tags` does, and the image's own ``width`` and ``height`` as the annotation frame.

    Raises:
        DataError: missing, not DICOM, or a header without the image's size.
    """
    with disable_value_validation():
        header = read_header(path)
        try:
            width, height = int(header.Columns), int(header.Rows)
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(
                where=path.name,
                problem="the header doesn't tell the image's size",
                expected="Rows and Columns",
                remedy="Replace the file, or leave the image out",
            ) from error
        return {"width": width, "height": height, **_tags(header, width)}


def _tags(header: pydicom.Dataset, frame_width: int) -> dict[str, Any]:
    shown = str(header.get("ViewPosition", "")) or str(header.get("SeriesDescription", "")).removeprefix("view: ")
    found = spacing_mm(header)
    scale = int(header.Columns) / frame_width
    return {
        "view": view(shown),
        "sex": sex(str(header.get("PatientSex", ""))),
        "age_years": age_years(str(header.get("PatientAge", ""))),
        "spacing_mm_x": spacing(found[0] * scale) if found else math.nan,
        "spacing_mm_y": spacing(found[1] * scale) if found else math.nan,
    }
