"""What test_readers.py leaves open: choice of columns, patients, splits, refusals."""

import math

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.errors import ConfigError, DataError
from tests.builders import csv_folder


def write(root, text):
    (root / "labels.csv").write_text(text)
    return root


@pytest.fixture
def root(tmp_path):
    return csv_folder(tmp_path / "t", count=3)


def test_all_columns(root):
    write(
        root, "Image,Patient_ID,View,Sex,Age,Split,Edema,Mass,Remark\n0.png,7,AP,f,61,valid,1,-1,blurred\n1,,,,,,,0,\n"
    )
    manifest = index_dataset("csv", root)
    one, two = manifest
    assert manifest.classes.labels == ("Edema", "Mass")
    assert (one.patient_id, one.view, one.sex, one.age_years, one.split) == ("csv:7", "AP", "F", 61, "val")
    assert one.labels == [1, -1]
    assert math.isnan(two.labels[0])
    assert (two.image_id, two.patient_id, two.split) == ("1.png", "csv:image:1.png", "")
    assert (one.width, one.height) == (64, 64)
    assert "columns Remark hold words" in manifest.notes[0]
    assert "1 images tell no patient" in manifest.notes[1]


def test_label_columns_are_chosen(root):
    write(root, "image,a,b,weight\n0.png,1,0,61.5\n")
    for text in ("b, a", "b|a"):
        assert index_dataset("csv", root, options={"label_columns": text}).classes.labels == ("b", "a")
    with pytest.raises(DataError, match=r"line 2, column weight: '61.5'.*label_columns"):
        index_dataset("csv", root)
    with pytest.raises(DataError, match=r"no label column 'aa'. Did you mean 'a'\? Expected some of a, b, weight"):
        index_dataset("csv", root, options={"label_columns": "aa"})


def test_exclusive_labels_are_checked(root):
    write(root, "image,a,b\n0.png,1,0\n1.png,1,1\n")
    with pytest.raises(DataError, match="line 3: 2 labels hold"):
        index_dataset("csv", root, options={"exclusive": "true"})
    with pytest.raises(ConfigError, match="option exclusive: 'yes'"):
        index_dataset("csv", root, options={"exclusive": "yes"})
    write(root, "image,a,b\n0.png,1,0\n1.png,0,1\n")
    assert index_dataset("csv", root, options={"exclusive": "true"}).classes.exclusive_labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,a,split\n0.png,1,testing\n", "line 2, column split: 'testing'"),
        ("image,remark\n0.png,x\n", "no column holds labels; found image, remark"),
        ("image,a\n0.png\n", "line 2: 1 fields"),
        ("image,a\n,1\n", "line 2, column image: the cell is blank"),
        ("image,a\n0.png,1\n0.png,1\n", "the image id stands in more than one record"),
    ],
)
def test_refuses(root, text, message):
    with pytest.raises(DataError, match=message):
        index_dataset("csv", write(root, text))


def test_several_tables_need_a_choice(root):
    (root / "other.csv").write_text("image,a\n")
    with pytest.raises(DataError, match=r"2 files that could be the table of labels \(labels.csv, other.csv\)"):
        index_dataset("csv", root)
    assert len(index_dataset("csv", root, options={"table": "labels.csv"})) == 3
