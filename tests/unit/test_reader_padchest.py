import gzip
import math

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.padchest import parse_labels
from fx_monai.errors import DataError
from tests import native_trees

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"


@pytest.fixture
def root(tmp_path):
    return native_trees.padchest(tmp_path)


def change(root, old, new):
    text = gzip.decompress((root / TABLE).read_bytes()).decode()
    assert old in text
    new = '"' + new.replace('"', '""') + '"'
    (root / TABLE).write_bytes(gzip.compress(text.replace(old, new).encode()))


def test_lists_of_labels_and_long_ids(root):
    manifest = index_dataset("padchest", root)
    first, lateral, excluded, last = manifest
    # whole strings, no remarks about the study
    names = ("cardiomegaly", "normal", "pleural effusion", "pseudonodule", "soft tissue mass")
    assert manifest.classes.labels == names
    assert first.labels == [1, 0, 1, 0, 0]
    assert lateral.labels == [0, 1, 0, 0, 0]
    assert all(math.isnan(value) for value in excluded.labels)
    assert last.labels == [0, 0, 0, 1, 1]
    assert first.patient_id == "padchest:1234567890123456789012345678901234567" == lateral.patient_id
    assert first.study_id == "9" * 37
    assert [r.view for r in manifest] == ["PA", "LATERAL", "OTHER", "AP"]
    assert [r.sex for r in manifest] == ["F", "F", "", "M"]
    assert (first.age_years, last.age_years) == (84, 65)
    assert math.isnan(excluded.age_years)
    assert first.spacing_mm_x == pytest.approx(0.143)
    assert math.isnan(lateral.spacing_mm_x)
    assert (first.image_path, last.image_path) == ("0/1_a.png", "54/3_a.png")
    assert (first.width, first.height) == native_trees.SIZE
    assert "1 rows" in manifest.notes[0]


@pytest.mark.parametrize("folder", ["", "images"])
def test_one_flat_folder(root, folder):
    (root / folder).mkdir(exist_ok=True)
    for path in [*root.glob("0/*.png"), *root.glob("54/*.png")]:
        path.rename(root / folder / path.name)
    paths = index_dataset("padchest", root).column("image_path")
    assert paths == [f"{folder}/{name}".lstrip("/") for name in ("1_a.png", "1_b.png", "2_a.png", "3_a.png")]


def test_table_unpacked_and_in_a_folder(root):
    packed = root / TABLE
    (root / "csv").mkdir()
    for folder in ("0", "54"):
        (root / folder).rename(root / "csv" / folder)
    (root / "csv" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert index_dataset("padchest", root).column("image_path")[0] == "csv/0/1_a.png"


def test_contradictions_are_counted_and_kept(root):
    change(root, "['normal']", "['normal', 'cardiomegaly']")
    manifest = index_dataset("padchest", root)
    assert manifest[1].labels == [1, 1, 0, 0, 0]
    assert "1 rows" in manifest.notes[1]
    assert "normal beside findings" in manifest.notes[1]


def test_only_what_physicians_labeled(root):
    labels = index_dataset("padchest", root, options={"labeled_by": "physician"}).labels()
    assert np.isnan(labels).all(axis=1).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['a', ' b', 'b ', '']", {"a", "b"}),
        ("['']", set()),
        ("", set()),
        ("nan", set()),
        ('["it\'s"]', {"it's"}),
    ],
)
def test_cells(cell, labels):
    assert parse_labels(cell) == labels


@pytest.mark.parametrize("cell", ["['a'", "a, b", "('a',)", "[1]", "__import__('os')"])
def test_refuses_cells_that_are_no_list(root, cell):
    with pytest.raises(DataError, match="no list of labels"):
        parse_labels(cell)
    change(root, "['normal']", cell)
    with pytest.raises(DataError, match="row 3, column Labels: the cell is no list of labels"):
        index_dataset("padchest", root)


def test_missing_images_are_named_or_left_out(root):
    (root / "54" / "2_a.png").unlink()
    with pytest.raises(DataError, match=r"1 annotated images are not there \(2_a.png\)"):
        index_dataset("padchest", root)
    assert len(index_dataset("padchest", root, allow_missing_images=True)) == 3
