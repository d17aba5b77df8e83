import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from fx_monai.data.gate import Judgement, Verdict, judge_image
from fx_monai.data.gate.judge import combine
from fx_monai.data.gate.pixels import chest_score, judge_pixels, mean_chest, to_ranks
from fx_monai.data.gate.tags import judge_tags
from fx_monai.data.index import index_dataset
from fx_monai.data.pixels import read_pixels
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.errors import ConfigError
from tests.dicom_builder import dicom_file

ACCEPTED, UNCERTAIN, REFUSED = Verdict.ACCEPTED, Verdict.UNCERTAIN, Verdict.REFUSED
CHEST = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}


def tags(**values):
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def coded(meaning):
    return [tags(CodeMeaning=meaning)]


@pytest.fixture(scope="module")
def chest():
    return make_case(CasePlan("nih_chestxray14", 1, 1, 0), 128).image


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, ACCEPTED, ""),
        ({"BodyPartExamined": "PORT CHEST", "Modality": "CR", "ViewPosition": "AP"}, ACCEPTED, ""),
        ({"Modality": "CT"}, REFUSED, "the modality is CT"),
        ({"Modality": "MG"}, REFUSED, "the modality is MG"),
        ({"Modality": ""}, UNCERTAIN, "the modality is not told"),
        ({"BodyPartExamined": "EXTREMITY"}, REFUSED, "the body part is EXTREMITY"),
        ({"BodyPartExamined": "ABDOMEN"}, REFUSED, "the body part is ABDOMEN"),
        ({"BodyPartExamined": "CHESTABDPELVIS"}, UNCERTAIN, "which may show no whole chest"),
        ({"BodyPartExamined": "TSPINE"}, UNCERTAIN, "which may show no whole chest"),
        ({"BodyPartExamined": "RIBS"}, UNCERTAIN, "which may show no whole chest"),
        ({"BodyPartExamined": "XX"}, UNCERTAIN, "'XX' is not known"),
        ({"BodyPartExamined": ""}, UNCERTAIN, "the body part is not told"),
        ({"BodyPartExamined": "", "StudyDescription": "XR CHEST PORTABLE"}, ACCEPTED, ""),
        ({"BodyPartExamined": "", "StudyDescription": "THORACIC SPINE"}, UNCERTAIN, "the body part is not told"),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": coded("Chest")}, ACCEPTED, ""),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": coded("Hand")}, REFUSED, "the body part is HAND"),
        ({"ViewPosition": "LL"}, REFUSED, "the view is LL, not frontal"),
        ({"ViewPosition": "LATERAL"}, REFUSED, "not frontal"),
        ({"ViewPosition": "RAO"}, REFUSED, "not frontal"),
        ({"ViewPosition": ""}, UNCERTAIN, "the view is not told"),
        ({"ViewPosition": "", "ViewCodeSequence": coded("postero-anterior")}, ACCEPTED, ""),
        ({"ViewPosition": "", "ViewCodeSequence": coded("left lateral")}, REFUSED, "not frontal"),
        ({"ViewPosition": "", "PatientOrientation": ["L", "F"]}, ACCEPTED, ""),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, REFUSED, "a lateral view"),
        ({"ViewPosition": "", "SeriesDescription": "view: PA"}, ACCEPTED, ""),
        ({"ViewPosition": "", "SeriesDescription": "W033 Chest lat."}, REFUSED, "the description says lateral"),
        ({"ViewPosition": "", "StudyDescription": "CHEST PA AND LATERAL"}, UNCERTAIN, "the view is not told"),
    ],
)
def test_tags(change, verdict, reason):
    found = judge_tags(tags(**{**CHEST, **change}))
    assert found.verdict is verdict
    assert reason in " ".join(found.reasons)
    assert bool(found.reasons) == bool(reason)


def test_without_any_tag_nothing_is_known():
    assert len(judge_tags(Dataset()).reasons) == 3


def test_all_that_speaks_against_is_told():
    assert len(judge_tags(tags(Modality="CT", BodyPartExamined="HEAD", ViewPosition="LL")).reasons) == 3


def test_phantoms_are_accepted_whatever_the_exposure(chest):
    for image in (chest, (chest // 3 + 20).astype(np.uint8), chest.astype(np.uint16) * 200):
        assert judge_pixels(image) == Judgement(ACCEPTED)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: 255 - image, "inverted"),
        (lambda image: image[::-1, ::-1], "upside down"),
        (lambda image: np.rot90(image), "turned to the left"),
        (lambda image: np.rot90(image, -1), "turned to the right"),
        (lambda image: image[:, 40:80], "unusual shape"),
    ],
)
def test_what_is_a_chest_but_shown_wrongly_is_uncertain(chest, change, reason):
    found = judge_pixels(np.ascontiguousarray(change(chest)))
    assert found.verdict is UNCERTAIN
    assert reason in found.reasons[0]


def test_no_picture_and_no_chest_are_refused():
    assert judge_pixels(np.full((40, 40), 7, np.uint16)).reasons == ("the image has a single grey value",)
    y, x = np.mgrid[0:64, 0:64]
    checks = ((x // 16 + y // 16) % 2 * 255).astype(np.uint8)
    assert judge_pixels(checks).verdict is REFUSED
    white = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    assert judge_pixels(white).verdict is REFUSED


def test_ranks_and_the_mean_chest():
    assert to_ranks(np.array([[3, 1], [1, 9]], np.float32)).tolist() == [[0.625, 0.25], [0.25, 0.875]]
    chest = mean_chest()
    assert np.allclose(chest, chest[:, ::-1], atol=1e-5)
    score, rows = chest_score(to_ranks(chest))
    assert score > 0.99
    assert rows == 1
    # the middle is bright, the lungs are dark, the abdomen is brighter
    assert chest[12, 16] > 1 > 0 > chest[12, 10] > chest[0, 2]
    assert chest[30, 10] > chest[12, 10]


@pytest.mark.parametrize(
    ("by_tags", "by_pixels", "verdict"),
    [
        (ACCEPTED, ACCEPTED, ACCEPTED),
        (ACCEPTED, REFUSED, UNCERTAIN),
        (UNCERTAIN, ACCEPTED, ACCEPTED),
        (UNCERTAIN, UNCERTAIN, UNCERTAIN),
        (UNCERTAIN, REFUSED, REFUSED),
        (REFUSED, ACCEPTED, REFUSED),
        (None, ACCEPTED, ACCEPTED),
        (None, REFUSED, REFUSED),
    ],
)
def test_tags_count_more_than_pixels(by_tags, by_pixels, verdict):
    tags_say = Judgement(by_tags, ("t",)) if by_tags else None
    found = combine(tags_say, Judgement(by_pixels, ("p",)))
    assert found.verdict is verdict
    assert found.reasons


def test_a_file_is_judged_by_both(tmp_path, chest):
    lateral = dicom_file(tmp_path / "l.dcm", chest, **{**CHEST, "ViewPosition": "LL"})
    assert judge_image(lateral, chest).verdict is REFUSED
    silent = dicom_file(tmp_path / "s.dcm", chest)
    found = judge_image(silent, chest)
    assert found.verdict is ACCEPTED
    assert found.reasons[-1] == "judged by its pixels alone"
    assert "the view is not told" in found.reasons
    inverted = dicom_file(tmp_path / "i.dcm", 255 - chest, **CHEST)
    assert judge_image(inverted, read_pixels(inverted)).verdict is UNCERTAIN


def test_an_in_house_folder_can_be_screened(tmp_path, chest):
    (tmp_path / "images").mkdir()
    pictures = {"chest": chest, "inverted": 255 - chest, "flat": np.full((64, 64), 9, np.uint8)}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"")
    names = (*pictures, "broken")
    (tmp_path / "labels.csv").write_text("image,a\n" + "".join(f"{name}.png,1\n" for name in names))
    assert len(index_dataset("csv", tmp_path)) == 4
    manifest = index_dataset("csv", tmp_path, options={"gate": "leave_out"})
    # what can't be read is the image store's to list
    assert manifest.column("image_id") == ["broken.png", "chest.png", "inverted.png"]
    notes = " ".join(manifest.notes)
    assert "1 images are no frontal chest; left out (flat.png: the image has a single grey value" in notes
    assert "1 images may be no frontal chest; kept" in notes
    for options, only in (({"gate": "yes"}, False), ({"gate": "leave_out"}, True)):
        with pytest.raises(ConfigError, match="option gate"):
            index_dataset("csv", tmp_path, options=options, annotations_only=only)
