import math
import shutil

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.policies import Policies, decided_labels
from fx_monai.data.readers.vindr_cxr import LABELS, LOCAL
from fx_monai.errors import DataError
from tests import native_trees

LABEL_TABLE, BOX_TABLE = "annotations/image_labels_train.csv", "annotations/annotations_train.csv"
CARDIOMEGALY = LOCAL.index("Cardiomegaly")


@pytest.fixture
def root(tmp_path):
    return native_trees.vindr_cxr(tmp_path)


def test_every_readers_labels_and_boxes_are_kept(root):
    manifest = index_dataset("vindr_cxr", root)
    sick, same, healthy, test = manifest
    assert [reader for reader, _ in sick.reader_labels] == ["R8", "R9", "R10"]
    named = dict(zip(LABELS, sick.labels, strict=True))
    # all say no, they disagree, they disagree
    assert named["Edema"] == 0
    assert math.isnan(named["Cardiomegaly"])
    assert math.isnan(named["No finding"])
    boxes = [(b.x1, b.y1, b.x2, b.y2, b.class_index, b.reader) for b in sick.boxes]
    assert boxes == [(10.5, 20, 40, 50.25, CARDIOMEGALY, "R8"), (12, 21, 41, 50, CARDIOMEGALY, "R9")]
    assert sick.boxes_annotated == healthy.boxes_annotated == list(range(22))
    assert same.labels[LABELS.index("Pleural effusion")] == 1
    assert (healthy.boxes, healthy.labels[-1]) == ([], 1)
    assert (sick.split, test.split) == ("train", "test")
    # the consensus of the test set has one row and no readers
    assert test.reader_labels == []
    assert {name for name, value in zip(LABELS, test.labels, strict=True) if value} == {"Tuberculosis", "Lung cavity"}
    assert test.boxes[0].reader == ""
    assert (sick.view, sick.sex, sick.age_years, sick.width, sick.height) == ("PA", "F", 61, 64, 64)
    assert (sick.spacing_mm_x, sick.spacing_mm_y) == pytest.approx((0.1, 0.2))
    assert sick.patient_id == f"vindr_cxr:{sick.image_id}"


def test_policies_decide_among_readers(root):
    manifest = index_dataset("vindr_cxr", root)
    decided = {
        rule: decided_labels(manifest, Policies(label_consensus=rule), seed=0)[0] for rule in ("any", "majority", "all")
    }
    place = [LABELS.index(name) for name in ("Cardiomegaly", "Pneumonia", "Edema")]
    assert {rule: labels[place].tolist() for rule, labels in decided.items()} == {
        "any": [1, 1, 0],
        "majority": [1, 0, 0],
        "all": [0, 0, 0],
    }


@pytest.mark.parametrize("inner", ["1.0.0", "vindr-cxr-an-open-dataset/1.0.0"])
def test_the_folders_of_physionet(root, tmp_path_factory, inner):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(root, other / inner)
    manifest = index_dataset("vindr_cxr", other)
    assert manifest.column("image_path")[0] == f"{inner}/train/{native_trees.VINDR_IDS[0]}.dicom"
    assert len(manifest) == 4


def test_boxes_beyond_the_image_are_clipped_and_empty_ones_make_their_class_unknown(root):
    path = root / BOX_TABLE
    text = path.read_text().replace("10.5,20,40,50.25", "-3.5,20,70,50.25").replace("12,21,41,50", "70,21,90,50")
    path.write_text(text)
    manifest = index_dataset("vindr_cxr", root)
    sick = manifest[0]
    assert [(b.x1, b.y1, b.x2, b.y2) for b in sick.boxes] == [(0, 20, 64, 50.25)]
    assert CARDIOMEGALY not in sick.boxes_annotated
    assert len(sick.boxes_annotated) == 21
    assert [note.split(" ")[1] for note in manifest.notes] == ["1", "1"]
    assert "clipped" in manifest.notes[0]
    assert "left out" in manifest.notes[1]


def test_spellings_of_classes(root):
    path = root / BOX_TABLE
    path.write_text(path.read_text().replace("Cardiomegaly", "cardiomegaly"))
    assert index_dataset("vindr_cxr", root)[0].boxes[0].class_index == CARDIOMEGALY
    labels = root / "annotations/image_labels_test.csv"
    assert "Other disease," in labels.read_text()
    labels.write_text(labels.read_text().replace("Other disease,", "Other diseases,").replace(",1,", ",1.0,"))
    assert index_dataset("vindr_cxr", root)[3].labels[LABELS.index("Tuberculosis")] == 1


def test_one_split_alone_and_unreadable_files(root):
    for name in ("image_labels_test.csv", "annotations_test.csv"):
        (root / "annotations" / name).unlink()
    shutil.rmtree(root / "test")
    (root / "train" / f"{native_trees.VINDR_IDS[0]}.dicom").write_bytes(b"damaged")
    manifest = index_dataset("vindr_cxr", root)
    assert len(manifest) == 3
    assert (manifest[0].width, len(manifest[0].boxes)) == (0, 2)
    assert "1 DICOM files have no readable header" in manifest.notes[0]
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="3 annotated images are not there"):
        index_dataset("vindr_cxr", root)
    assert np.array_equal(index_dataset("vindr_cxr", root, annotations_only=True).labels()[2][-1], 1)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LABEL_TABLE, "Rib fracture", "Ribs", "the column 'Rib fracture' is missing"),
        (LABEL_TABLE, ",R9,", ",R8,", "line 3, image 0+1: the reader 'R8' stands twice"),
        (LABEL_TABLE, ",R8,0,", ",R8,x,", "line 2, column Aortic enlargement: 'x'"),
        (BOX_TABLE, "R8,Cardiomegaly", "R8,Heart", "line 2, column class_name: unknown class 'Heart'"),
        (BOX_TABLE, "10.5", "", "line 2, column x_min: '' is not a number"),
    ],
)
def test_refuses(root, file, old, new, message):
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("vindr_cxr", root)


def test_missing_tables_are_named(root):
    (root / BOX_TABLE).unlink()
    with pytest.raises(DataError, match="there is no annotations_train.csv"):
        index_dataset("vindr_cxr", root)
    shutil.rmtree(root / "annotations")
    with pytest.raises(DataError, match="there is no table of labels"):
        index_dataset("vindr_cxr", root)
