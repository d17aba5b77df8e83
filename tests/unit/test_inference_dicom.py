"""DICOM SEG and SR: read again, valid, of the source's patient, with codes and the use."""

import shutil
import subprocess

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes

from fx_monai.data.pixels import read_header
from fx_monai.data.vocabulary import vocabulary
from fx_monai.errors import DataError
from fx_monai.inference.dicom_codes import SCHEME, concept_of
from fx_monai.inference.dicom_seg import segmentation_of
from fx_monai.inference.dicom_sr import report_of
from fx_monai.inference.result import Finding
from tests.inference_builders import by_hand, radiograph

PIXELS = np.tile(np.arange(30, dtype=np.uint8), (40, 1))


@pytest.fixture(params=["no spacing", "spacing", "zero spacing", "imager spacing"])
def header(request, tmp_path):
    spacing = {
        "no spacing": {},
        "spacing": {"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.2, 0.3]},
        "zero spacing": {"PixelSpacing": [0, 0]},
        "imager spacing": {"ImagerPixelSpacing": [0.2, 0.3]},
    }[request.param]
    return read_header(radiograph(tmp_path / "x.dcm", PIXELS, **spacing))


def errors_of(path):
    """Return what the validator of dicom3tools complains about."""
    if not shutil.which("dciodvfy"):
        return []
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    return [line for line in told.splitlines() if line.startswith("Error")]


def test_segmentation_is_read_again(header, tmp_path):
    prediction = by_hand()
    segmentation_of(prediction, header).save_as(tmp_path / "seg.dcm")
    assert not errors_of(tmp_path / "seg.dcm")
    read = hd.seg.segread(tmp_path / "seg.dcm")
    masks = read.get_pixels_by_source_instance([header.SOPInstanceUID])[0]
    # the empty mask is no segment
    assert read.number_of_segments == 2
    np.testing.assert_array_equal(masks[..., 0], prediction.masks[0].mask)
    np.testing.assert_array_equal(masks[..., 1], prediction.masks[1].mask)
    first, second = (read.get_segment_description(number) for number in (1, 2))
    assert (first.segment_label, second.segment_label) == ("montgomery: left lung", "siim_acr: Pneumothorax")
    assert first.segmented_property_type == codes.SCT.Lung
    assert first.segmented_property_category == codes.SCT.AnatomicalStructure
    modifier = first.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeValue == codes.SCT.Left.value
    assert second.segmented_property_type == codes.SCT.Pneumothorax
    algorithm = first.algorithm_identification
    assert (algorithm.name, algorithm.version) == ("demo", "0.1.0")
    assert algorithm.parameters["weights_sha256"] == "ab" * 32
    assert "trained on phantoms" in algorithm.parameters["use"]


def test_report_is_read_again(header, tmp_path):
    report_of(by_hand(), header).save_as(tmp_path / "sr.dcm")
    assert not errors_of(tmp_path / "sr.dcm")
    read = hd.sr.srread(tmp_path / "sr.dcm")
    findings = read.content.get_image_measurement_groups()
    assert [group.tracking_identifier.split(":")[0] for group in findings] == ["nih_chestxray14", "our_hospital"]
    assert findings[0].finding_type == codes.SCT.PleuralEffusion
    assert findings[1].finding_type.scheme_designator == SCHEME
    values = {m.name.meaning: m.value for m in findings[0].get_measurements()}
    assert values == {"Certainty of Finding": 25.0, "Operating threshold": 20.0}
    told = {e.name.value: e.value.meaning for e in findings[0].get_qualitative_evaluations()}
    assert told == {"calibrated": "Yes", "present": "Yes"}
    (box,) = read.content.get_planar_roi_measurement_groups()
    corners = box.roi.value
    assert corners.min(0).tolist() == [1, 2]
    assert corners.max(0).tolist() == [9.5, 20]
    comments = [item.value for item in read.content[0].ContentSequence if item.name == codes.DCM.Comment]
    assert comments == ["research use only; trained on phantoms", "a warning"]
    assert read.PreliminaryFlag == "PRELIMINARY"


@pytest.mark.parametrize("make", [segmentation_of, report_of])
def test_objects_belong_to_the_patient_and_declare_use_and_codes(header, make):
    first, second = (make(by_hand(), header) for _ in range(2))
    assert (str(first.PatientName), first.PatientID) == ("Planted^Name", "PLANTED42")
    assert first.StudyInstanceUID == header.StudyInstanceUID
    assert first.ContentQualification == "RESEARCH"
    assert "trained on phantoms" in first.SeriesDescription
    assert [item.CodingSchemeDesignator for item in first.CodingSchemeIdentificationSequence] == [SCHEME]
    assert header.SOPInstanceUID in str(first)
    # a second run makes another object
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID not in (second.SeriesInstanceUID, header.SeriesInstanceUID)


def test_an_image_without_uids_is_not_referred_to(tmp_path):
    header = read_header(radiograph(tmp_path / "x.dcm", PIXELS, SeriesInstanceUID=""))
    for make in (segmentation_of, report_of):
        with pytest.raises(DataError, match="no SeriesInstanceUID"):
            make(by_hand(), header)


def test_missing_patient_attributes_are_empty(tmp_path):
    header = read_header(radiograph(tmp_path / "x.dcm", PIXELS))
    for name in ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber", "StudyTime"):
        delattr(header, name)
    for make in (segmentation_of, report_of):
        assert not make(by_hand(), header).PatientName


def test_nothing_found_no_object(header):
    empty = by_hand(findings=False)
    assert report_of(empty, header) is None
    assert segmentation_of(by_hand().__class__(empty.image, empty.model), header) is None


def test_only_labels_that_mean_just_the_finding_get_its_code():
    same = concept_of(Finding.of("nih_chestxray14", "Effusion", probability=0))
    assert (same.value, same.scheme_designator) == ("60046008", "SCT")
    for item in vocabulary().labels:
        if item.relation != "=":
            other = concept_of(Finding.of(item.dataset, item.label, probability=0))
            assert (other.scheme_designator, other.value) == (SCHEME, f"{item.dataset}:{item.label}")


def test_codes_stand_in_the_dictionary_of_dicom():
    from pydicom.sr._concepts_dict import concepts

    known = {(scheme, value) for scheme, own in concepts.items() for by_value in own.values() for value in by_value}
    told = [tuple(finding.code.split()) for finding in vocabulary().findings.values() if finding.code]
    assert len(told) > 10
    assert not set(told) - known
