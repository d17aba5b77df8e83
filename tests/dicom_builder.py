"""Small DICOM files, made on the spot."""

from pathlib import Path

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def dicom_file(path: Path, pixels: np.ndarray | None = None, *, side: int = 32, **tags: object) -> Path:
    """Write a MONOCHROME2 image with the given header tags.

    Args:
        path: file to write.
        pixels: uint8, or uint16 with 12 bits stored; default: an 8-bit ramp of side x side.
        side: of the ramp.
        tags: header tags by keyword; they replace the usual ones.
    """
    if pixels is None:
        pixels = np.tile(np.arange(side, dtype=np.uint8), (side, 1))
    bits, stored = (8, 8) if pixels.dtype == np.uint8 else (16, 12)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, stored, stored - 1, 0
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    # the public sets write ages as plain numbers, against the standard
    with disable_value_validation():
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
    return path
