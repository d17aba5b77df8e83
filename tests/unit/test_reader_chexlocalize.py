import json

import numpy as np
import pytest

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.data.readers.chexlocalize import PATHOLOGIES
from fx_monai.errors import DataError
from fx_monai.ops.masks import decode_coco_rle
from tests import native_trees

TEST = "CheXlocalize/gt_segmentations_test.json"
KEY = "patient64741_study1_view1_frontal"


@pytest.fixture
def root(tmp_path):
    return native_trees.chexlocalize(tmp_path / "localize")


def test_masks_of_findings(root):
    frontal, lateral, valid = index_dataset("chexlocalize", root)
    opacity, heart = PATHOLOGIES.index("Airspace Opacity"), PATHOLOGIES.index("Cardiomegaly")
    # an empty mask says absent, a finding that isn't named is unknown
    assert frontal.masks_annotated == frontal.boxes_annotated == sorted([opacity, heart])
    assert [mask.class_index for mask in frontal.masks] == [opacity]
    width, height = native_trees.SIZE
    assert np.array_equal(
        decode_coco_rle(json.loads(frontal.masks[0].data)), native_trees.square(height, width, (3, 20, 30, 40))
    )
    box = frontal.boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (3, 20, 30, 40)
    assert (frontal.width, frontal.height) == native_trees.SIZE
    assert (frontal.split, valid.split, lateral.view) == ("test", "val", "LATERAL")
    # the folder says val, CheXpert's tables say valid
    assert valid.image_id == "valid/patient64541/study1/view1_frontal.jpg"
    assert valid.image_path == "CheXpert/val/patient64541/study1/view1_frontal.jpg"


def test_patients_are_those_of_chexpert(root, tmp_path):
    chexpert = index_dataset("chexpert", native_trees.chexpert(tmp_path / "chexpert"))
    localize = index_dataset("chexlocalize", root)
    valid = chexpert.column("image_id").index("valid/patient64541/study1/view1_frontal.jpg")
    groups = linked_groups([chexpert, localize])
    assert groups[valid] == groups[len(chexpert) + 2]
    assert localize[2].source_image == chexpert[valid].source_image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient1": {}}, "image patient1: no name of an image of CheXpert"),
        ({KEY: []}, f"image {KEY}: a list"),
        ({KEY: {"Oedema": {}}}, "Oedema: unknown finding"),
        ({KEY: {"Edema": {"size": [4, 5]}}}, "Edema: no run lengths"),
        ({KEY: {"Edema": {"size": [4, 5], "counts": "zz"}}}, "Edema: run-length text with the letter 'z'"),
        (
            {KEY: {"Edema": {"size": [4, 5], "counts": "d0"}, "Cardiomegaly": {"size": [5, 4], "counts": "d0"}}},
            "masks of 2 sizes",
        ),
    ],
)
def test_refuses(root, change, message):
    (root / TEST).write_text(json.dumps(change))
    with pytest.raises(DataError, match=message):
        index_dataset("chexlocalize", root)


def test_missing_things_are_named(root):
    next((root / "CheXpert" / "test").rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="1 annotated images are not there"):
        index_dataset("chexlocalize", root)
    for path in (root / "CheXlocalize").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="there is no file of masks"):
        index_dataset("chexlocalize", root)
