"""DICOM SEG and SR of one image as files, and the reasons where one can't be."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from fx_monai.errors import DataError
from fx_monai.inference.output_kinds import Output
from fx_monai.inference.result import Prediction
from fx_monai.inference.source import Source

# what pydicom and highdicom raise on attributes that are against the standard
_INVALID = (ValueError, TypeError, AttributeError, LookupError)


@dataclass
class DicomFiles:
    """What became of SEG and SR.

    Args:
        files: kind -> file name.
        notes: why one isn't due.
        problems: why one that is due couldn't be made.
    """

    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def write_dicom(
    prediction: Prediction, source: Source, name: str, folder: Path, outputs: Collection[Output]
) -> DicomFiles:
    """Write ``<name>_seg.dcm`` and ``<name>_sr.dcm``, as asked for and as far as the source allows it."""
    made = DicomFiles()
    if source.header is None:
        made.notes.append("no DICOM SEG and SR: the image is no DICOM file")
        return made
    # highdicom takes a second to import, and other sources don't need it
    from fx_monai.inference.dicom_seg import segmentation_of
    from fx_monai.inference.dicom_sr import report_of

    kinds: tuple[tuple[Output, Callable[[Prediction, pydicom.Dataset], Any], str], ...] = (
        (Output.SEG, segmentation_of, "every mask is empty"),
        (Output.SR, report_of, "there is neither a probability nor a box"),
    )
    for kind, make, nothing in kinds:
        if kind not in outputs:
            continue
        try:
            made_object = make(prediction, source.header)
            if made_object is None:
                made.notes.append(f"no DICOM {kind.upper()}: {nothing}")
                continue
            made_object.save_as(folder / f"{name}_{kind}.dcm")
            made.files[kind.value] = f"{name}_{kind}.dcm"
        except DataError as error:
            made.problems.append(f"no DICOM {kind.upper()}: {error.problem}")
        except _INVALID as error:
            (folder / f"{name}_{kind}.dcm").unlink(missing_ok=True)
            made.problems.append(
                f"no DICOM {kind.upper()}: the image's attributes are against the standard ({type(error).__name__})"
            )
    return made
