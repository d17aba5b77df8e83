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
