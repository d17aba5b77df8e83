import math

import numpy as np
import pytest

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.data.readers.vinbigdata import BOXES, LABELS
from fx_monai.errors import DataError
from tests import native_trees


@pytest.fixture
def root(tmp_path):
    return native_trees.vinbigdata(tmp_path / "kaggle")


def test_rows_are_boxes_and_labels_of_their_reader(root):
    manifest = index_dataset("vinbigdata", root)
    sick, healthy, test = manifest
    boxes = [(BOXES[b.class_index], b.x1, b.reader) for b in sick.boxes]
    assert boxes == [("Cardiomegaly", 10, "R8"), ("Nodule/Mass", 1, "R8"), ("Cardiomegaly", 12, "R9"),
                     ("Cardiomegaly", 11, "R10")]  # fmt: skip
    place = {name: number for number, name in enumerate(LABELS)}
    assert sick.labels[place["Cardiomegaly"]] == 1
    assert math.isnan(sick.labels[place["Nodule/Mass"]])
    assert (sick.labels[place["Edema"]] if "Edema" in place else 0) == 0
    assert [labels[place["Nodule/Mass"]] for _, labels in sick.reader_labels] == [1, 0, 0]
    assert (healthy.labels[-1], healthy.boxes, healthy.boxes_annotated) == (1, [], list(range(14)))
    # test images have no public labels: unknown, never negative
    assert (test.labels, test.boxes_annotated, test.reader_labels) == ([], [], [])
    assert np.isnan(manifest.labels()[2]).all()
    assert "1 test images have no public labels" in manifest.notes[0]
    assert (sick.width, sick.height, sick.view) == (64, 64, "PA")


def test_images_are_those_of_vindr_cxr(root, tmp_path):
    kaggle = index_dataset("vinbigdata", root)
    physionet = index_dataset("vindr_cxr", native_trees.vindr_cxr(tmp_path / "physionet"))
    groups = linked_groups([kaggle, physionet])
    assert groups[0] == groups[len(kaggle)]
    assert kaggle[0].source_image == physionet[0].source_image == f"vindr_cxr/{kaggle[0].image_id}"
    assert len(set(groups.tolist())) == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Cardiomegaly,3", "Cardiomegaly,2", "line 2, columns class_name and class_id: 'Cardiomegaly' with id '2'"),
        ("Nodule/Mass,8", "Nodule,8", "line 3, .*'Nodule' with id '8'"),
        ("10.0,20.0", "ten,20.0", "line 2, column x_min: 'ten' is not a number"),
    ],
)
def test_refuses(root, old, new, message):
    (root / "train.csv").write_text((root / "train.csv").read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("vinbigdata", root)


def test_missing_images_are_named(root):
    next((root / "train").iterdir()).unlink()
    with pytest.raises(DataError, match="1 annotated images are not there"):
        index_dataset("vinbigdata", root)
