"""The files of one image's result: they appear together and whole, the JSON last, or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from fx_monai.data.pixels import to_uint8
from fx_monai.errors import OutputError
from fx_monai.files import file_word, written_together
from fx_monai.inference.dicom_files import DicomFiles, write_dicom
from fx_monai.inference.output_kinds import DEFAULT_OUTPUTS, Output
from fx_monai.inference.overlay import draw_overlay
from fx_monai.inference.placement import ras_affine
from fx_monai.inference.plain import to_plain
from fx_monai.inference.result import FoundMask, Prediction
from fx_monai.inference.source import Source


def check_folder(folder: Path) -> None:
    """Make the folder and try to write into it, before anything is computed.

    Raises:
        OutputError: it can't be written.
    """
    with _written_into(folder), tempfile.TemporaryFile(dir=folder):
        pass


def write_outputs(
    prediction: Prediction,
    source: Source,
    *,
    name: str,
    folder: Path,
    outputs: Collection[Output] = DEFAULT_OUTPUTS,
    identifiers: dict[str, Any] | None = None,
) -> DicomFiles:
    """Write the files of one image.

    ``<name>.json`` always; as asked for ``<name>_overlay.png``, ``<name>_mask_<dataset>_<label>.png`` and ``.nii.gz``,
    ``<name>_seg.dcm`` and ``<name>_sr.dcm``. SEG and SR are written for DICOM sources only and carry the patient's
    identifiers, as DICOM demands; the JSON says why one is missing.

    Args:
        prediction: of the source.
        source: the image.
        name: of the files.
        folder: where to.
        outputs: kinds of files.
        identifiers: whatever shall tell the patient or the file in the JSON; None = nothing.

    Returns:
        What became of SEG and SR.

    Raises:
        OutputError: the folder can't be written.
    """
    with _written_into(folder), written_together(folder) as place:
        files: dict[str, str] = {}
        written = DicomFiles()
        if Output.OVERLAY in outputs:
            files["overlay"] = f"{name}_overlay.png"
            overlay_of(prediction, source).save(place / f"{name}_overlay.png", compress_level=1)
        if {Output.SEG, Output.SR} & set(outputs):
            written = write_dicom(prediction, source, name, place, outputs)
            files |= written.files
        content = to_plain(prediction, mask_files=_write_masks(prediction, source, name, place, outputs))
        content |= {"files": files, "not_written": [*written.notes, *written.problems], "source": identifiers}
        (place / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return written


def overlay_of(prediction: Prediction, source: Source) -> Image.Image:
    """Return the picture of a result."""
    return draw_overlay(
        to_uint8(source.pixels),
        boxes=[(f"{b.label} {b.score:.2f}", (b.x1, b.y1, b.x2, b.y2)) for b in prediction.best_boxes()],
        masks=[(mask.label, mask.mask) for mask in prediction.masks if mask.area_px],
        findings=[(f"{f.dataset}: {f.label}", f.probability) for f in prediction.findings],
        note="\n".join((prediction.note, *prediction.warnings)),
    )


def _write_masks(
    prediction: Prediction, source: Source, name: str, folder: Path, outputs: Collection[Output]
) -> dict[tuple[str, str], list[str]]:
    """Write the masks and return the files of each (dataset, label)."""
    files: dict[tuple[str, str], list[str]] = {}
    affine = ras_affine(source) if Output.NIFTI in outputs else None
    for mask in prediction.masks:
        stem = f"{name}_mask_{mask.dataset}_{file_word(mask.label)}"
        while (folder / f"{stem}.png").exists() or (folder / f"{stem}.nii.gz").exists():
            stem += "-"
        own = files.setdefault((mask.dataset, mask.label), [])
        if Output.MASKS in outputs:
            Image.fromarray(mask.mask).save(folder / f"{stem}.png")
            own.append(f"{stem}.png")
        if affine is not None:
            nib.save(_nifti(mask, affine), folder / f"{stem}.nii.gz")
            own.append(f"{stem}.nii.gz")
    return files


def _nifti(mask: FoundMask, affine: np.ndarray[Any, np.dtype[np.float64]]) -> nib.Nifti1Image:
    image = nib.Nifti1Image(mask.mask.T[..., None].astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    return image


@contextmanager
def _written_into(folder: Path) -> Iterator[None]:
    """Make a folder and turn what its disk says into a message."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(
            where=str(folder),
            problem=f"the results can't be written ({error.strerror or type(error).__name__})",
            expected="a folder with write permission and free space",
            remedy="Name another folder with --out",
        ) from error
