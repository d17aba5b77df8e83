"""Readers on real annotation files and radiographs; the counts were taken from the files with other tools."""

import json
from pathlib import Path

import numpy as np
import pytest

from fx_monai.data.gate import Verdict, judge_image
from fx_monai.data.gate.pixels import judge_pixels
from fx_monai.data.index import index_dataset
from fx_monai.data.pixels import image_size, pixel_spacing_mm, read_pixels
from fx_monai.data.readers import chestx_det, nih_chestxray14, rsna_pneumonia
from fx_monai.data.readers.tables import read_table
from fx_monai.data.splits import assign_splits
from fx_monai.errors import DataError
from fx_monai.ops.masks import decode_coco_rle

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CXR, NATIVE = SHARED / "cxr", SHARED / "native_formats"
ROOTS = {
    "nih_chestxray14": "nih_cxr14",
    "rsna_pneumonia": "nih_cxr14",
    "generalblockchain_lungs": "covid_ccby",
    "v7_lungs": "covid_ccby",
}

pytestmark = [pytest.mark.real, pytest.mark.skipif(not CXR.is_dir(), reason="the real radiographs are not here")]


@pytest.fixture(scope="module")
def manifests():
    return {name: index_dataset(name, CXR / root) for name, root in ROOTS.items()}


@pytest.mark.parametrize(
    ("name", "images", "boxes", "boxed_images", "masks"),
    [
        ("nih_chestxray14", 235, 34, 30, 0),
        ("rsna_pneumonia", 125, 115, 73, 0),
        ("generalblockchain_lungs", 62, 124, 62, 0),
        ("v7_lungs", 40, 80, 40, 80),
    ],
)
def test_counts(manifests, name, images, boxes, boxed_images, masks):
    manifest = manifests[name]
    per_image = [len(found) for found in manifest.column("boxes")]
    assert (len(manifest), sum(per_image), np.count_nonzero(per_image)) == (images, boxes, boxed_images)
    assert sum(map(len, manifest.column("masks"))) == masks
    assert all(patient and "image" not in patient for patient in manifest.column("patient_id"))


def test_an_nih_row_by_hand(manifests):
    # 00000150_002.png,Atelectasis|Infiltration|Pneumonia,2,150,55,F,AP,3056,2544,0.139,0.139
    record = next(r for r in manifests["nih_chestxray14"] if r.image_id == "00000150_002.png")
    names = manifests["nih_chestxray14"].classes
    assert {n for n, v in zip(names.labels, record.labels, strict=True) if v} == {
        "Atelectasis",
        "Infiltration",
        "Pneumonia",
    }
    assert (record.patient_id, record.age_years, record.sex, record.view) == ("nih:150", 55, "F", "AP")
    assert record.spacing_mm_x == pytest.approx(0.139 * 3056 / 1024)
    box = record.boxes[0]
    assert (box.x1, box.y1) == pytest.approx((601.396825396825, 595.978835978836))
    assert {names.boxes[i] for i in record.boxes_annotated} == set(names.boxes) - {"Atelectasis", "Infiltration"}


def test_rsna_and_nih_show_the_same_images(manifests):
    nih = {r.source_image: r for r in manifests["nih_chestxray14"]}
    for record in manifests["rsna_pneumonia"]:
        twin = nih[record.source_image]
        assert (record.patient_id, record.view, record.image_path) == (twin.patient_id, twin.view, twin.image_path)


def test_lungs_of_two_sources_agree_on_patients_and_place(manifests):
    """V7 polygons and GeneralBlockchain boxes of one image were drawn by different people."""
    boxes = {r.image_id: r for r in manifests["generalblockchain_lungs"]}
    overlaps = []
    for record in manifests["v7_lungs"]:
        twin = boxes[record.image_id]
        assert record.patient_id == twin.patient_id
        assert (record.width, record.height) == (twin.width, twin.height)
        lungs = np.maximum.reduce([decode_coco_rle(json.loads(m.data)) for m in record.masks])
        inside = np.zeros_like(lungs)
        for box in twin.boxes:
            inside[int(box.y1) : int(box.y2), int(box.x1) : int(box.x2)] = 1
        overlaps.append((lungs & inside).sum() / lungs.sum())
    assert np.median(overlaps) > 0.9


def test_left_lung_is_on_the_right_of_the_image(manifests):
    names = manifests["generalblockchain_lungs"].classes.boxes
    for record in manifests["generalblockchain_lungs"]:
        centre = {names[box.class_index]: box.x1 + box.x2 for box in record.boxes}
        assert centre["Left Lung"] > centre["Right Lung"]


def test_polygons_equal_the_masks_of_the_same_source(manifests):
    by_file = {r.image_id: r for r in manifests["v7_lungs"]}
    agreements = []
    for path in sorted((CXR / "covid_ccby" / "v7_darwin").glob("*.json"))[:10]:
        about = json.loads(path.read_text())["image"]
        record = by_file[about["original_filename"]]
        theirs = read_pixels(CXR / "covid_ccby" / "v7_semantic_masks" / f"{path.stem}.png") > 0
        ours = np.maximum.reduce([decode_coco_rle(json.loads(m.data)) for m in record.masks]) > 0
        if theirs.shape == ours.shape:
            agreements.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    assert len(agreements) >= 5
    assert np.median(agreements) > 0.98


def test_splits_leave_every_task_something_everywhere(manifests):
    for seed in range(5):
        splits = assign_splits(list(manifests.values()), seed=seed, fractions=(0.7, 0.1, 0.2))
        part_of_patient: dict[str, str] = {}
        for name, manifest in manifests.items():
            parts = splits.by_dataset[name]
            boxed = np.array([bool(found) for found in manifest.column("boxes")])
            assert all((boxed & (parts == part)).any() for part in ("train", "val", "test")), (seed, name)
            for patient, part in zip(manifest.column("patient_id"), parts.tolist(), strict=True):
                assert part_of_patient.setdefault(patient, part) == part


def test_one_radiograph_in_four_transfer_syntaxes():
    plain = read_pixels(CXR / "dicom" / "RG1_UNCR.dcm").astype(np.int32)
    assert plain.shape == (1955, 1841)
    assert image_size(CXR / "dicom" / "RG1_UNCR.dcm") == (1841, 1955)
    # lossless, then two lossy ones
    for name, tolerance in (("RG1_J2KR.dcm", 0), ("RG1_JLSN.dcm", 400), ("RG1_J2KI.dcm", 1500)):
        assert np.abs(read_pixels(CXR / "dicom" / name) - plain).max() <= tolerance, name
    # MONOCHROME1: air beside the patient is dark once inverted, the mediastinum bright
    assert plain[900:1100, 900:1000].mean() > plain[900:1100, 400:600].mean()
    assert pixel_spacing_mm(CXR / "dicom" / "RG1_UNCR.dcm") is None


def test_native_nih_files():
    table = read_table(NATIVE / "nih_cxr14" / "Data_Entry_2017_v2020.csv")
    assert len(table.columns) == 11
    for line, row in table.rows:
        nih_chestxray14.parse_labels(row["Finding Labels"], f"line {line}")
        assert nih_chestxray14.patient_of(row["Image Index"], "x") == f"nih:{row['Patient ID']}"
        assert nih_chestxray14.about(row)["spacing_mm_x"] > 0.1
    boxes = nih_chestxray14.read_boxes(NATIVE / "nih_cxr14")
    lines = (NATIVE / "nih_cxr14" / "BBox_List_2017.csv").read_text().splitlines()
    assert sum(map(len, boxes.values())) == len(lines) - 1
    sample = read_table(NATIVE / "nih_cxr14" / "sample_labels.csv")
    assert all(0 < nih_chestxray14.about(row)["age_years"] <= 100 for _, row in sample.rows)


def test_native_rsna_files():
    folder = NATIVE / "rsna_pneumonia"
    boxes = rsna_pneumonia.read_boxes(folder / "stage_2_train_labels.csv")
    classes = rsna_pneumonia.read_classes(folder / "stage_2_detailed_class_info.csv")
    assert all((classes[image] == "Lung Opacity") == bool(found) for image, found in boxes.items() if image in classes)
    targets = [row["Target"] for _, row in read_table(folder / "stage_2_train_labels.csv").rows]
    assert sum(map(len, boxes.values())) == targets.count("1")


def test_native_chestx_det_files():
    for name, count in (("train", 120), ("test", 60)):
        entries = json.loads((NATIVE / "chestx_det" / f"ChestX_Det_{name}.json").read_text())
        parsed = [chestx_det.parse_entry(entry, entry["file_name"]) for entry in entries]
        assert len(parsed) == count
        assert sum(len(p["boxes"]) for p in parsed) == sum(len(entry["syms"]) for entry in entries)


def test_annotations_without_images_are_refused_with_their_number_or_kept():
    for name, folder, number in (
        ("chestx_det", "chestx_det", 180),
        ("generalblockchain_lungs", "generalblockchain_lung_boxes", 61),
        ("v7_lungs", "v7_covid_lungs", 12),
    ):
        with pytest.raises(DataError, match=f"{number} annotated images are not there"):
            index_dataset(name, NATIVE / folder)
        with pytest.raises(DataError, match="no image was found"):
            index_dataset(name, NATIVE / folder, allow_missing_images=True)
        assert len(index_dataset(name, NATIVE / folder, annotations_only=True)) == number


def test_native_hannover_table():
    manifest = index_dataset("hannover_covid", NATIVE / "hannover_covid", annotations_only=True)
    care = manifest.labels()[:, 1]
    # 31 rows without a day of admission; counted with csv and float alone
    assert [int((care == 1).sum()), int((care == 0).sum()), int(np.isnan(care).sum())] == [136, 33, 31]
    shown = index_dataset("hannover_covid", CXR / "hannover_labels")
    assert len(shown) == 36
    assert min(shown.column("width")) > 100


def test_darwin_and_coco_exports_of_the_lungs_agree(manifests):
    coco = {r.image_id: r for r in manifests["v7_lungs"]}
    darwin = index_dataset("v7_lungs", CXR / "covid_ccby", options={"annotations": "v7_darwin"})
    assert len(darwin) == len(coco) == 40
    for record in darwin:
        other = coco[record.image_id]
        assert (record.patient_id, record.view, record.sex) == (other.patient_id, other.view, other.sex)
        assert {m.data for m in record.masks} == {m.data for m in other.masks}


def test_the_gate_on_real_dicom_with_and_without_tags():
    for name, verdict in (("RG1_UNCR.dcm", Verdict.ACCEPTED), ("negative_extremity_RG3_J2KI.dcm", Verdict.REFUSED)):
        path = CXR / "dicom" / name
        pixels = read_pixels(path)
        assert judge_image(path, pixels).verdict is verdict
        assert judge_pixels(pixels).verdict is verdict


def test_the_gate_refuses_none_of_the_hannover_chests():
    found = [judge_pixels(read_pixels(path)).verdict for path in sorted((CXR / "hannover_labels" / "png").iterdir())]
    assert Verdict.REFUSED not in found
    assert found.count(Verdict.UNCERTAIN) <= 2
