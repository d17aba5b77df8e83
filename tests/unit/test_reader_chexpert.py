import math
import shutil

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.chexpert import LABELS
from fx_monai.errors import DataError
from tests import native_trees


@pytest.fixture
def root(tmp_path):
    return native_trees.chexpert(tmp_path / "CheXpert-v1.0")


def test_one_folder(root):
    manifest = index_dataset("chexpert", root)
    first, lateral, healthy, valid = manifest
    named = dict(zip(LABELS, first.labels, strict=True))
    assert (named["Edema"], named["Pleural Effusion"], named["Pneumothorax"]) == (-1, 1, 0)
    assert math.isnan(named["Pneumonia"])
    assert (first.view, lateral.view, healthy.view) == ("AP", "LATERAL", "PA")
    assert (first.patient_id, first.study_id) == ("chexpert:patient00001", "patient00001/study1")
    assert first.image_id == "train/patient00001/study1/view1_frontal.jpg" == first.image_path
    assert (first.sex, first.age_years, first.split, valid.split) == ("M", 57, "train", "val")
    # nobody of age 0 is in the set
    assert math.isnan(healthy.age_years)
    assert (first.width, first.height) == native_trees.SIZE
    assert valid.labels == [0] * 13 + [1]


def test_the_folder_above(root):
    assert index_dataset("chexpert", root.parent)[0].image_path.startswith("CheXpert-v1.0/train/patient00001/")


@pytest.mark.parametrize("nested", [False, True])
def test_batches_hold_the_patients_directly(root, tmp_path, nested):
    before = index_dataset("chexpert", root)
    container = tmp_path / "chexpertchestxrays-u20210408"
    first = container / "CheXpert-v1.0 batch 1 (validate & csv)"
    shutil.copytree(root / "valid", first / "valid")
    shutil.copy(root / "train.csv", first)
    shutil.copy(root / "valid.csv", first)
    for number, patient in ((2, "patient00001"), (4, "patient00002")):
        batch = f"CheXpert-v1.0 batch {number} (train {number - 1})"
        home = container / batch / batch if nested else container / batch
        shutil.copytree(root / "train" / patient, home / patient)
    after = index_dataset("chexpert", container)
    assert after.column("image_id") == before.column("image_id")
    assert all((container / path).is_file() for path in after.column("image_path"))


def test_chexlocalize_has_other_names_and_a_test_set_without_demographics(root, tmp_path):
    other = tmp_path / "CheXpert"
    shutil.copytree(root / "valid", other / "val")
    shutil.copy(root / "valid.csv", other / "val_labels.csv")
    # prefixes differ from copy to copy
    path = "CheXpert-v1.0-small/test/patient64741/study1/view1_frontal.jpg"
    native_trees.table(other / "test_labels.csv", ("Path", *LABELS), [(path, *["1"] * 14)])
    native_trees.picture(other / "test/patient64741/study1/view1_frontal.jpg")
    test, valid = index_dataset("chexpert", tmp_path / "CheXpert")
    assert (valid.image_id, valid.image_path.split("/")[0]) == ("valid/patient64541/study1/view1_frontal.jpg", "val")
    assert (test.split, test.view, test.sex, test.labels) == ("test", "", "", [1] * 14)
    assert math.isnan(test.age_years)


def test_other_labelers_tables(root):
    (root / "train_cheXbert.csv").write_text((root / "train.csv").read_text().replace("-1.0", "1.0"))
    read = index_dataset("chexpert", root, options={"labeler": "chexbert"})
    assert read[0].labels[LABELS.index("Edema")] == 1


def test_doubtful_cells_are_unknown(root):
    text = (root / "train.csv").read_text()
    (root / "train.csv").write_text(text.replace("Frontal,AP", "Frontal,LL").replace("Female", "Unknown"))
    manifest = index_dataset("chexpert", root)
    assert [r.view for r in manifest] == ["", "LATERAL", "PA", "AP"]
    assert manifest[2].sex == ""
    assert manifest.notes == ("chexpert: 1 frontal images of train.csv have a lateral AP/PA",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patient00002", "patientX", "train.csv, row 4, column Path: the cell doesn't name an image"),
        ("Lung Lesion", "Lesion", "the column 'Lung Lesion' is missing"),
        ("-1.0", "maybe", "train.csv, row 2, column Edema: 'maybe'"),
        ("study1/view2_lateral", "study1/view1_frontal", "the image id stands in more than one row"),
    ],
)
def test_refuses(root, old, new, message):
    (root / "train.csv").write_text((root / "train.csv").read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("chexpert", root)


def test_missing_tables_and_images(root, tmp_path):
    shutil.rmtree(root / "train" / "patient00002")
    with pytest.raises(DataError, match=r"1 annotated images are not there \(train/patient00002"):
        index_dataset("chexpert", root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no table of labels"):
        index_dataset("chexpert", tmp_path / "empty")
