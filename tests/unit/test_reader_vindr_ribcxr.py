import json

import pytest

from fx_monai.data.catalog import find_dataset
from fx_monai.data.index import index_dataset
from fx_monai.data.rasterise import rasterise
from fx_monai.data.readers.vindr_ribcxr import RIBS
from fx_monai.errors import DataError
from tests import native_trees

TRAIN = "Vindr_RibCXR_train_mask.json"


@pytest.fixture
def root(tmp_path):
    return native_trees.vindr_ribcxr(tmp_path)


def test_columns_of_ribs(root):
    manifest = index_dataset("vindr_ribcxr", root)
    first, second, valid = manifest
    assert manifest.classes.masks == RIBS
    assert (RIBS[0], RIBS[9], RIBS[10], RIBS[19]) == ("R1", "R10", "L1", "L10")
    # the text "None" is a rib that wasn't drawn: unknown, not empty
    assert first.masks_annotated == list(range(1, 20))
    assert second.masks_annotated == list(range(20))
    assert (first.split, valid.split) == ("train", "val")
    # the table says data, the disk says Data
    assert first.image_path == "Data/train/img/VinDr_RibCXR_train_000.png"
    assert (first.width, first.height) == native_trees.SIZE
    # 12 x 5 pixels from (2.5, 2); ribs overlap
    one, two = (rasterise(mask, second, root) for mask in second.masks[:2])
    assert one.sum() == pytest.approx(12 * 5, abs=6)
    assert (one & two).sum() > 0
    assert one[:, 20:].sum() == 0


def test_sides_swap_when_mirrored():
    assert find_dataset("vindr_ribcxr").laterality[0] == ("L1", "R1")
    assert len(find_dataset("vindr_ribcxr").laterality) == 10


def test_tables_in_other_folders(root):
    folder = root / "Annotations" / "train"
    folder.mkdir(parents=True)
    (root / TRAIN).rename(folder / "VinDr_RibCXR_train_mask.json")
    assert len(index_dataset("vindr_ribcxr", root)) == 3


def edit(root, column, key, value):
    content = json.loads((root / TRAIN).read_text())
    content[column][key] = value
    (root / TRAIN).write_text(json.dumps(content))


@pytest.mark.parametrize("value", [None, "None"])
def test_ribs_that_are_not_drawn(root, value):
    edit(root, "L10", "1", value)
    assert 19 not in index_dataset("vindr_ribcxr", root)[1].masks_annotated


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("L3", "none", "image 1, column L3: no list of points"),
        ("L3", [[1, 2], [3, 4], [5, 6]], "image 1, column L3: no list of points"),
        ("L3", [{"x": 1, "y": 2}], "image 1, column L3: a polygon of 1 points"),
        ("L3", [{"x": -9, "y": 2}, {"x": -5, "y": 2}, {"x": -5, "y": 8}], "column L3: the polygon lies outside"),
        ("L3", [{"x": float("nan"), "y": 2}] * 3, "at least 3 finite points"),
        ("img", 5, "image 1, column img: no file name"),
    ],
)
def test_refuses(root, column, value, message):
    edit(root, column, "1", value)
    with pytest.raises(DataError, match=message):
        index_dataset("vindr_ribcxr", root)


def test_missing_things_are_named(root):
    next((root / "Data").rglob("*train_001.png")).unlink()
    with pytest.raises(DataError, match=r"1 annotated images are not there \(VinDr_RibCXR_train_001\)"):
        index_dataset("vindr_ribcxr", root)
    content = json.loads((root / TRAIN).read_text())
    del content["R7"]
    (root / TRAIN).write_text(json.dumps(content))
    with pytest.raises(DataError, match="there is no column 'R7'"):
        index_dataset("vindr_ribcxr", root)
    for path in root.glob("*.json"):
        path.unlink()
    with pytest.raises(DataError, match="there is no file of rib polygons"):
        index_dataset("vindr_ribcxr", root)
