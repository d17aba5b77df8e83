"""Masks as a DICOM Segmentation (PS3.3 A.51) that refers to the source image."""

from __future__ import annotations

import numpy as np
import pydicom
from highdicom import AlgorithmIdentificationSequence, PixelMeasuresSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

from fx_monai.inference.dicom_codes import category_of, concept_of, side_of
from fx_monai.inference.dicom_object import MANUFACTURER, algorithm_parameters, described, fresh_uid, referenced
from fx_monai.inference.result import FoundMask, Prediction

_LONGEST = 64
SERIES_NUMBER = 9100


def segmentation_of(prediction: Prediction, header: pydicom.Dataset) -> Segmentation | None:
    """Return a binary segmentation with one segment per mask that isn't empty; None when all are.

    Args:
        prediction: with masks of the source's size.
        header: DICOM attributes of the source.

    Raises:
        DataError: the source doesn't say which object, series and study it is.
    """
    masks = [mask for mask in prediction.masks if mask.area_px]
    if not masks:
        return None
    source = referenced(header)
    algorithm = AlgorithmIdentificationSequence(
        name=prediction.model.name[:_LONGEST],
        family=codes.DCM.ArtificialIntelligence,
        version=prediction.model.version[:_LONGEST] or "unknown",
        source=MANUFACTURER,
        parameters=algorithm_parameters(prediction.model),
    )
    segmentation = Segmentation(
        source_images=[source],
        pixel_array=np.stack([mask.mask for mask in masks], axis=-1)[None].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, mask, algorithm) for number, mask in enumerate(masks, start=1)],
        series_number=SERIES_NUMBER,
        content_label="FX_MONAI",
        content_description=prediction.note[:_LONGEST],
        # readers of segmentations ask for a thickness, which a projection doesn't have
        pixel_measures=PixelMeasuresSequence(pixel_spacing=source.PixelSpacing, slice_thickness=1.0)
        if source.get("PixelSpacing")
        else None,
        **described(prediction.model, "Masks"),
    )
    # without a position in the patient the orientation has to be there, if only empty
    segmentation.PatientOrientation = source.get("PatientOrientation")
    for item in segmentation.SegmentSequence:
        item.SegmentDescription = prediction.note
    return segmentation


def _segment(number: int, mask: FoundMask, algorithm: AlgorithmIdentificationSequence) -> SegmentDescription:
    name = f"{mask.dataset}: {mask.label}"[:_LONGEST]
    segment = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category_of(mask),
        segmented_property_type=concept_of(mask),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=fresh_uid(),
        tracking_id=name,
    )
    side = side_of(mask)
    if side is not None:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return segment
