import json

import pytest

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from tests.builders import picture

ENTRY = {"file_name": "5.png", "syms": ["Effusion", "Effusion"], "boxes": [[1, 2, 30, 40], [1, 2, 30, 40]]}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([ENTRY]))
    (tmp_path / "test.json").write_text(json.dumps([{"file_name": "6.png", "syms": [], "boxes": []}]))
    for name in ("train_data/5.png", "test_data/6.png"):
        picture(tmp_path / name)
    return tmp_path


def test_boxes_without_masks_and_repeated_boxes_once(tree):
    manifest = index_dataset("chestx_det10", tree)
    empty, full = manifest
    assert len(manifest.classes.labels) == 10
    assert "Cardiomegaly" not in manifest.classes.boxes
    assert len(full.boxes) == 1
    assert "1 boxes stand twice" in manifest.notes[0]
    assert (empty.split, full.split) == ("test", "train")
    assert empty.boxes_annotated == list(range(10))
    assert full.masks_annotated == []


def test_it_shows_the_images_of_chestx_det(tree, tmp_path):
    whole = tmp_path / "whole"
    for part, file in (("train", "5.png"), ("test", "6.png")):
        picture(whole / part / file)
        entry = {"file_name": file, "syms": [], "boxes": [], "polygons": []}
        (whole / f"ChestX_Det_{part}.json").write_text(json.dumps([entry]))
    groups = linked_groups([index_dataset("chestx_det10", tree), index_dataset("chestx_det", whole)])
    assert groups.tolist() == [groups[0], groups[1]] * 2
    assert groups[0] != groups[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"syms": ["Effusion", "Cardiomegaly"]}, "entry 0, 5.png: unknown class 'Cardiomegaly'"),
        ({"syms": ["Effusion"]}, "1 syms, 2 boxes"),
    ],
)
def test_refuses(tree, change, message):
    (tree / "train.json").write_text(json.dumps([{**ENTRY, **change}]))
    with pytest.raises(DataError, match=message):
        index_dataset("chestx_det10", tree)
