import json
import math

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from tests.dicom_builder import dicom_file

LABELS = "patientId,x,y,width,height,Target\na-1,1.0,2.0,30.0,40.0,1\nb-2,,,,,0\n"
CLASSES = "patientId,class\na-1,Lung Opacity\nb-2,Normal\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "stage_2_train_labels.csv").write_text(LABELS)
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    folder = tmp_path / "stage_2_train_images"
    dicom_file(
        folder / "a-1.dcm", side=64, PatientAge="155", PatientSex="F", ViewPosition="AP", PixelSpacing=[0.2, 0.2]
    )
    dicom_file(folder / "b-2.dcm", side=64, PatientAge="61", PatientSex="M", ViewPosition="PA", PixelSpacing=[0, 0])
    return tmp_path


def test_header_tells_patient_and_acquisition(root):
    a, b = index_dataset("rsna_pneumonia", root)
    assert (a.view, a.sex, a.patient_id, a.source_image) == ("AP", "F", "rsna:a-1", "")
    assert math.isnan(a.age_years)
    assert (b.view, b.age_years) == ("PA", 61)
    # the file of 64 pixels is a copy of the frame of 1024
    assert a.spacing_mm_x == pytest.approx(0.2 * 64 / 1024)
    assert math.isnan(b.spacing_mm_x)
    assert a.boxes_annotated == b.boxes_annotated == [0]
    assert a.labels == [0, 0, 1]


def test_id_map_gives_the_nih_patient_to_dicom_files_too(root):
    (root / "rsna_to_nih.csv").write_text("patientId,nih_image,mse\na-1,00000007_002.png,0.5\n")
    a, b = index_dataset("rsna_pneumonia", root)
    assert (a.patient_id, a.source_image) == ("nih:7", "nih_chestxray14/00000007_002.png")
    assert (b.patient_id, b.source_image) == ("rsna:b-2", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("stage_2_train_labels.csv", "40.0,1", "40.0,2", "line 2, column Target: '2'"),
        ("stage_2_train_labels.csv", "30.0", "", "line 2, column width: '' is not a number"),
        ("stage_2_train_labels.csv", "30.0", "3000", "line 2, patientId a-1: box .* lies outside the image"),
        ("stage_2_detailed_class_info.csv", "b-2,Normal\n", "", "patientId b-2: the image has no class row"),
        ("stage_2_detailed_class_info.csv", "b-2,Normal", "b-2,normal", "line 3, column class: 'normal'"),
        ("stage_2_detailed_class_info.csv", "b-2,Normal", "a-1,Normal\nb-2,Normal", "line 3, column class: 'Normal'"),
        ("stage_2_detailed_class_info.csv", "b-2,Normal", "b-2,Lung Opacity", "'Lung Opacity' with 0 boxes"),
        ("stage_2_detailed_class_info.csv", "a-1,Lung Opacity", "a-1,Normal", "'Normal' with 1 boxes"),
    ],
)
def test_refuses(root, file, old, new, message):
    (root / file).write_text((root / file).read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("rsna_pneumonia", root)


def test_a_cut_dicom_is_named(root):
    (root / "stage_2_train_images" / "a-1.dcm").write_bytes(b"")
    with pytest.raises(DataError, match="a-1.dcm: the file is empty"):
        index_dataset("rsna_pneumonia", root)


OFFICIAL = [{"img_id": "00000007_002.png", "subset_img_id": "a-1", "SOPInstanceUID": "1.2.3", "orig_labels": []}]


def test_rsna_s_own_map(root):
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(OFFICIAL))
    assert index_dataset("rsna_pneumonia", root)[0].source_image == "nih_chestxray14/00000007_002.png"
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text('[{"img_id": "x"}]')
    with pytest.raises(DataError, match="not RSNA's map"):
        index_dataset("rsna_pneumonia", root)


def test_test_images_are_unknown_not_negative(root):
    dicom_file(root / "stage_2_test_images" / "c-3.dcm", side=64)
    manifest = index_dataset("rsna_pneumonia", root)
    record = manifest[2]
    assert all(math.isnan(value) for value in record.labels)
    assert (record.boxes, record.boxes_annotated) == ([], [])
    assert "1 images have no labels" in manifest.notes[0]


def test_stage_1(root):
    for name in ("train_labels.csv", "detailed_class_info.csv"):
        (root / f"stage_2_{name}").rename(root / f"stage_1_{name}")
    (root / "stage_2_train_images").rename(root / "stage_1_train_images")
    assert [r.labels for r in index_dataset("rsna_pneumonia", root)] == [[0, 0, 1], [1, 0, 0]]


def export(*annotations):
    labels = [("L_o8w", "Normal"), ("L_yd0", "No Lung Opacity / Not Normal"), ("L_v8n", "Lung Opacity ")]
    groups = [
        {"name": "Readers", "labels": [{"id": "L_x", "name": "Question"}]},
        {"name": "Calculated", "labels": [{"id": i, "name": n} for i, n in labels]},
    ]
    return json.dumps({"labelGroups": groups, "datasets": [{"annotations": list(annotations)}]})


def annotation(image, label, **data):
    return {"SOPInstanceUID": image, "labelId": label, "data": data or None}


def test_rsna_s_own_export(tmp_path):
    box = {"x": 10, "y": 20, "width": 30, "height": 40.5}
    (tmp_path / "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json").write_text(
        export(annotation("1.2.3", "L_v8n", **box), annotation("1.2.3", "L_x"), annotation("1.2.4", "L_o8w"))
    )
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(OFFICIAL))
    for name in ("1.2.3", "1.2.4"):
        dicom_file(tmp_path / "study" / "series" / f"{name}.dcm", side=64)
    first, second = index_dataset("rsna_pneumonia", tmp_path)
    assert (first.labels, second.labels) == ([0, 0, 1], [1, 0, 0])
    assert (first.boxes[0].x2, first.boxes[0].y2) == (40, 60.5)
    assert (first.patient_id, second.patient_id) == ("nih:7", "rsna:1.2.4")
    assert second.boxes_annotated == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (export(annotation("1", "L_o8w"), annotation("1", "L_yd0")), "image 1: the label 'No Lung Opacity"),
        (export(annotation("1", "L_v8n", x=1)), "not RSNA's export"),
        (export(annotation("1", "L_v8n", x=1, y=1, width=0, height=5)), "has no area"),
        ('{"labelGroups": []}', r"not RSNA's export \(StopIteration"),
    ],
)
def test_broken_exports_are_refused(tmp_path, text, message):
    (tmp_path / "pneumonia-challenge-annotations-adjudicated-kaggle_2018.json").write_text(text)
    with pytest.raises(DataError, match=message):
        index_dataset("rsna_pneumonia", tmp_path)
