"""Findings and boxes as a DICOM Structured Report: Comprehensive SR after TID 1500, Measurement Report (PS3.16).

Each probability is a measurement group (TID 1501) with the certainty of the finding in percent, whether it is
calibrated, and the operating threshold with what it decides; each box a planar region (TID 1410) of the source image.
The tracking identifier says whose definition it is: ``dataset: label``. The use and the warnings are comments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from fx_monai.inference.dicom_codes import concept_of, private_code
from fx_monai.inference.dicom_object import MANUFACTURER, described, device_uid, fresh_uid, referenced
from fx_monai.inference.result import Definition, Finding, FoundBox, ModelIdentity, Prediction

SERIES_NUMBER = 9101
# what an entry of a radiograph in the image library needs (TID 1603)
_LIBRARY = ("PatientOrientation", "ImagerPixelSpacing")
_CALIBRATED = private_code("calibrated", "The certainty is calibrated")
_THRESHOLD = private_code("threshold", "Operating threshold")
_PRESENT = private_code("present", "Counts as present at the operating threshold")
_BOX_HEIGHT = private_code("box_height", "Height of the box")
_BOX_WIDTH = private_code("box_width", "Width of the box")
_PROCEDURE = private_code("chest_radiograph", "Radiography of the chest")


def report_of(prediction: Prediction, header: pydicom.Dataset) -> ComprehensiveSR | None:
    """Return the report of one image; None when there is neither a probability nor a box.

    Args:
        prediction: of the source.
        header: DICOM attributes of the source.

    Raises:
        DataError: the source doesn't say which object, series and study it is.
    """
    source = referenced(header)
    algorithm = AlgorithmIdentification(
        name=prediction.model.name,
        version=prediction.model.version or "unknown",
        # every group repeats it: what tells the weights; the use stands among the comments
        parameters=[f"weights_sha256={prediction.model.weights_sha256}"],
    )
    groups = [
        *(_finding_group(finding, source, algorithm) for finding in prediction.findings),
        *(_box_group(box, source, algorithm) for box in prediction.boxes),
    ]
    if not groups:
        return None
    content = MeasurementReport(
        observation_context=_observer(prediction.model),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[source] if all(source.get(name) for name in _LIBRARY) else None,
    )
    content[0].ContentSequence.extend(_comments(prediction))
    return ComprehensiveSR(
        evidence=[source],
        content=content,
        series_number=SERIES_NUMBER,
        is_complete=True,
        is_final=False,
        **described(prediction.model, "Findings"),
    )


def _observer(model: ModelIdentity) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name="fx_monai",
        manufacturer_name=MANUFACTURER,
        model_name=model.name,
        serial_number=model.weights_sha256 or "in memory",
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _comments(prediction: Prediction) -> Iterator[TextContentItem]:
    for text in (prediction.note, *prediction.warnings):
        yield TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)


def _finding_group(
    finding: Finding, source: pydicom.Dataset, algorithm: AlgorithmIdentification
) -> MeasurementsAndQualitativeEvaluations:
    measurements = [_percent(codes.DCM.CertaintyOfFinding, finding.probability)]
    evaluations = [QualitativeEvaluation(_CALIBRATED, _yes_or_no(finding.calibrated))]
    if finding.threshold is not None:
        measurements.append(_percent(_THRESHOLD, finding.threshold))
        evaluations.append(QualitativeEvaluation(_PRESENT, _yes_or_no(bool(finding.present))))
    return MeasurementsAndQualitativeEvaluations(
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup.from_source_image(source)],
        **_named(finding, algorithm),
    )


def _box_group(
    box: FoundBox, source: pydicom.Dataset, algorithm: AlgorithmIdentification
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    corners = [(box.x1, box.y1), (box.x2, box.y1), (box.x2, box.y2), (box.x1, box.y2), (box.x1, box.y1)]
    region = ImageRegion(
        GraphicTypeValues.POLYLINE,
        np.array(corners),
        source_image=SourceImageForRegion.from_source_image(source),
    )
    measurements = [_percent(codes.DCM.CertaintyOfFinding, box.score)]
    for name, value in ((_BOX_WIDTH, box.width_mm), (_BOX_HEIGHT, box.height_mm)):
        if value is not None:
            measurements.append(Measurement(CodedConcept.from_code(name), round(value, 2), codes.UCUM.Millimeter))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(_CALIBRATED, codes.SCT.No)],
        **_named(box, algorithm),
    )


def _named(item: Definition, algorithm: AlgorithmIdentification) -> dict[str, Any]:
    """Return what says whose definition a group follows and what it means."""
    return {
        "tracking_identifier": TrackingIdentifier(fresh_uid(), f"{item.dataset}: {item.label}"),
        "finding_type": concept_of(item),
        "algorithm_id": algorithm,
    }


def _percent(name: Code, share: float) -> Measurement:
    return Measurement(CodedConcept.from_code(name), round(100 * share, 2), codes.UCUM.Percent)


def _yes_or_no(value: bool) -> Code:
    return codes.SCT.Yes if value else codes.SCT.No
