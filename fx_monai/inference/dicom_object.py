"""What every DICOM object of a result shares: whose image, which algorithm, what for.

UIDs are fresh with every run. A UID belongs to one object for ever, and a second run makes another object, with its own
date and perhaps other options; an archive would refuse it or lose the first one under a UID made from the source.
"""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pydicom
from highdicom import ContentQualificationValues
from pydicom.uid import UID, generate_uid

from fx_monai import __version__
from fx_monai.data.formats import dicom
from fx_monai.errors import DataError
from fx_monai.inference.dicom_codes import private_scheme
from fx_monai.inference.result import ModelIdentity

MANUFACTURER = "The fx_monai developers"
_REFERENCED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# attributes of type 2 of the patient and the study: they may be empty, but have to be there
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_LONGEST = 64


def fresh_uid() -> str:
    """Return a UID that nobody has (2.25 and a random UUID, PS3.5 B.2)."""
    return str(generate_uid(prefix=None))


def device_uid(model: ModelIdentity) -> str:
    """Return the UID of the observer: the same for the same weights and version."""
    seed = f"fx_monai {model.fx_monai_version} {model.name} {model.version} {model.weights_sha256}"
    return str(UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, seed).int}"))


def referenced(header: pydicom.Dataset) -> pydicom.Dataset:
    """Return the source's attributes as an object that can be referred to.

    Raises:
        DataError: it doesn't say which object, series and study it is.
    """
    missing = [name for name in _REFERENCED if not header.get(name)]
    if missing:
        raise DataError(
            where="DICOM SEG and SR",
            problem=f"the image has no {', '.join(missing)}",
            expected="an image that can be referred to",
            remedy="Take the image as the archive sends it",
        )
    whole = copy.copy(header)
    for name in _MAY_BE_EMPTY:
        if name not in whole:
            setattr(whole, name, None)
    if dicom.spacing_mm(header) is None and "PixelSpacing" in whole:
        # zeros and the like; what refers to the image would repeat them
        del whole.PixelSpacing
    return whole


def described(model: ModelIdentity, title: str) -> dict[str, Any]:
    """Return what highdicom's constructors of all objects take: series, equipment, use, our coding scheme."""
    return {
        "series_instance_uid": fresh_uid(),
        "sop_instance_uid": fresh_uid(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": model.name[:_LONGEST],
        "software_versions": f"fx_monai {__version__}, weights {model.version}"[:_LONGEST],
        "device_serial_number": model.weights_sha256 or "in memory",
        "series_description": f"{title}: {model.note}"[:_LONGEST],
        "content_qualification": ContentQualificationValues.RESEARCH,
        "coding_schemes": [private_scheme()],
    }


def algorithm_parameters(model: ModelIdentity) -> dict[str, str]:
    """Return what identifies the weights beside name and version."""
    card = model.card
    parameters = {
        "weights_sha256": model.weights_sha256 or "in memory",
        "recipe": card.recipe,
        "seed": str(card.seed),
        "model": card.model,
        "use": model.note,
    }
    return {key: value for key, value in parameters.items() if value}
