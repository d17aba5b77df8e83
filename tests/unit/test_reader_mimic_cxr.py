import csv
import gzip
import math
import random
import shutil

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.mimic_cxr import LABELS
from fx_monai.errors import ConfigError, DataError
from tests import native_trees
from tests.dicom_builder import dicom_file

CHEXPERT = "mimic-cxr-2.0.0-chexpert.csv.gz"
METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"


@pytest.fixture
def root(tmp_path):
    return native_trees.mimic_cxr(tmp_path)


def rows(path):
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file))


def test_tables_are_joined_by_image_and_by_study(root):
    manifest = index_dataset("mimic_cxr", root)
    first, lateral, unlabelled, other = manifest
    named = dict(zip(LABELS, first.labels, strict=True))
    assert (named["Atelectasis"], named["Cardiomegaly"], named["Pneumothorax"]) == (1, -1, 0)
    assert sum(math.isnan(value) for value in first.labels) == 11
    # a study's labels are those of all its images
    assert np.array_equal(lateral.labels, first.labels, equal_nan=True)
    assert all(math.isnan(value) for value in unlabelled.labels)
    assert "1 images have no label in mimic-cxr-2.0.0-chexpert.csv.gz" in manifest.notes[0]
    assert [r.view for r in manifest] == ["PA", "LATERAL", "", "AP"]
    assert [r.split for r in manifest] == ["train", "train", "train", "test"]
    assert (first.patient_id, first.study_id) == ("mimic:10000032", "50414267")
    assert (first.width, first.height) == native_trees.SIZE
    assert first.image_path == f"files/p10/p10000032/s50414267/{first.image_id}.jpg"
    assert other.labels[LABELS.index("Support Devices")] == 1


def test_columns_are_found_by_name_whatever_their_order(root):
    before = str(list(index_dataset("mimic_cxr", root)))
    generator = random.Random(0)
    for path in root.glob("*.csv.gz"):
        header, *content = rows(path)
        order = list(range(len(header)))
        generator.shuffle(order)
        native_trees.table(path, [header[i] for i in order], [[row[i] for i in order] for row in content])
    assert str(list(index_dataset("mimic_cxr", root))) == before


def test_unpacked_tables_in_physionets_folders(root, tmp_path):
    before = index_dataset("mimic_cxr", root)
    base = tmp_path / "other" / "mimic-cxr-jpg" / "2.0.0"
    shutil.copytree(root / "files", base / "files")
    for path in root.glob("*.csv.gz"):
        (base / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    after = index_dataset("mimic_cxr", tmp_path / "other")
    assert after.column("image_path") == [f"mimic-cxr-jpg/2.0.0/{path}" for path in before.column("image_path")]
    assert np.array_equal(after.labels(), before.labels(), equal_nan=True)


def test_dicom_files_stand_in_for_jpegs(root):
    path = next((root / "files").rglob("*1.jpg"))
    dicom_file(path.with_suffix(".dcm"))
    path.unlink()
    assert index_dataset("mimic_cxr", root)[0].image_path.endswith(".dcm")


def test_the_other_labeler_and_the_radiologists_labels(root):
    header, *content = rows(root / CHEXPERT)
    content[0][header.index("Atelectasis")] = "0.0"
    native_trees.table(root / "mimic-cxr-2.0.0-negbio.csv.gz", header, content)
    place = LABELS.index("Atelectasis")
    assert index_dataset("mimic_cxr", root, options={"labeler": "negbio"})[0].labels[place] == 0
    with pytest.raises(ConfigError, match="option labeler: 'negbi'. Did you mean 'negbio'"):
        index_dataset("mimic_cxr", root, options={"labeler": "negbi"})
    with pytest.raises(DataError, match="there is no mimic-cxr-2.1.0-test-set-labeled.csv"):
        index_dataset("mimic_cxr", root, options={"test_labels": "radiologist"})
    native_trees.table(
        root / "mimic-cxr-2.1.0-test-set-labeled.csv", ("study_id", *LABELS), [("59999999", *["1.0"] * 14)]
    )
    read = index_dataset("mimic_cxr", root, options={"test_labels": "radiologist"})
    assert (read[3].labels, read[0].labels[place]) == ([1.0] * 14, 1)


def test_views_that_show_no_frontal_or_lateral_chest(root):
    header, *content = rows(root / METADATA)
    for row, view in zip(content, ("SWIMMERS", "XTABLE LATERAL", "L5 S1", "AP LLD"), strict=True):
        row[header.index("ViewPosition")] = view
    native_trees.table(root / METADATA, header, content)
    assert index_dataset("mimic_cxr", root).column("view") == ["OTHER", "LATERAL", "OTHER", "OTHER"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (CHEXPERT, "Pleural Effusion", "Pleural", "the column 'Pleural Effusion' is missing"),
        (CHEXPERT, "50414267,1.0", "50414267,2.0", "row 2, column Atelectasis: '2.0'"),
        (CHEXPERT, "50414267", "59999999", "column study_id: 1 ids stand more than once"),
        (METADATA, ",48,", ",,", "row 2, column Rows: ''. Expected a number of pixels"),
        (METADATA, "PA,48,40", "PA,48", "row 2: not a readable table of 7 columns"),
        (METADATA, "00000002,", "00000001,", "image 0000000a-.*: the image id stands in more than one row"),
        ("mimic-cxr-2.0.0-split.csv.gz", ",test", ",tst", "row 5, column split: 'tst'"),
    ],
)
def test_refuses(root, file, old, new, message):
    text = gzip.decompress((root / file).read_bytes()).decode()
    assert old in text
    (root / file).write_bytes(gzip.compress(text.replace(old, new).encode()))
    with pytest.raises(DataError, match=message) as caught:
        index_dataset("mimic_cxr", root)
    assert "10000032" not in str(caught.value)


def test_a_cut_table_and_missing_images_are_named(root):
    next((root / "files").rglob("*4.jpg")).unlink()
    with pytest.raises(DataError, match="1 annotated images are not there"):
        index_dataset("mimic_cxr", root)
    assert len(index_dataset("mimic_cxr", root, allow_missing_images=True)) == 3
    assert len(index_dataset("mimic_cxr", root, annotations_only=True)) == 4
    (root / METADATA).write_bytes((root / METADATA).read_bytes()[:-20])
    with pytest.raises(DataError, match="metadata.csv.gz: not a readable table"):
        index_dataset("mimic_cxr", root)
