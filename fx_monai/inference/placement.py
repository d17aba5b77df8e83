"""Where the pixels of a source lie: the affine that NIfTI masks take, so that they lie on the source in any viewer.

DICOM and MetaImage count in LPS (x to the patient's left, y to the back), NIfTI in RAS; pixel i runs along the rows of
the picture and j along its columns. A radiograph without position or direction is laid down as ITK and 3D Slicer do it:
the first pixel at the origin, rows along x, columns along y. ITK reads no Pixel Spacing of CR files, only Imager Pixel
Spacing; here Pixel Spacing counts where it is told, as in the results in mm.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray

from fx_monai.data.formats import dicom, metaimage
from fx_monai.inference.source import Source

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI = (".nii", ".nii.gz")

Affine = NDArray[np.float64]


def ras_affine(source: Source) -> Affine:
    """Return the 4 x 4 matrix from pixel indices (i, j, 0) to mm in RAS."""
    name = source.path.name.lower() if source.path else ""
    if source.path and name.endswith(_NIFTI):
        return np.asarray(nib.load(source.path).affine, dtype=np.float64)
    if source.header is not None:
        return _LPS_TO_RAS @ _dicom_lps(source.header)
    if source.path and name.endswith((".mha", ".mhd")):
        return _LPS_TO_RAS @ _metaimage_lps(source.path)
    return _LPS_TO_RAS.copy()


def _dicom_lps(header: pydicom.Dataset) -> Affine:
    x, y = dicom.spacing_mm(header) or (1.0, 1.0)
    affine = np.diag([x, y, 1.0, 1.0])
    orientation, position = header.get("ImageOrientationPatient"), header.get("ImagePositionPatient")
    if orientation and position and len(orientation) == 6 and len(position) == 3:
        along_rows, along_columns = np.array(orientation, dtype=np.float64).reshape(2, 3)
        affine[:3, 0], affine[:3, 1] = along_rows * x, along_columns * y
        affine[:3, 2] = np.cross(along_rows, along_columns)
        affine[:3, 3] = np.array(position, dtype=np.float64)
    return affine


def _metaimage_lps(path: Path) -> Affine:
    fields = metaimage.header_fields(path)
    sides = int(fields.get("NDims", 2))

    def numbers(names: tuple[str, ...], default: Affine) -> Affine:
        text = next((fields[name] for name in names if name in fields), None)
        return default if text is None else np.array(text.split(), dtype=np.float64)

    spacing = numbers(("ElementSpacing", "ElementSize"), np.ones(sides))
    direction = numbers(("TransformMatrix", "Rotation", "Orientation"), np.eye(sides).ravel()).reshape(sides, sides)
    affine = np.eye(4)
    # a row of the file's matrix is the direction of one axis
    affine[:sides, :sides] = direction.T * spacing
    affine[:sides, 3] = numbers(("Offset", "Position", "Origin"), np.zeros(sides))
    return affine
