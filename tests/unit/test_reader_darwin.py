import json

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.darwin import read_darwin
from fx_monai.errors import DataError
from tests.builders import picture

SQUARE = [{"x": 4, "y": 6.0}, {"x": 20, "y": 6}, {"x": 20, "y": 30}, {"x": 4, "y": 30}]
FIRST = {
    "image": {"width": 40, "height": 50, "filename": "0001.png", "original_filename": "a.png"},
    "annotations": [
        {"name": "Lung", "polygon": {"path": SQUARE}},
        {"name": "Ignore", "polygon": {"path": SQUARE[:3]}},
        {"name": "PatientID:245", "tag": {}},
        {"name": "View/AP_Supine", "tag": {}},
        {"name": "Sex/F", "tag": {}},
    ],
}
SECOND = {
    "version": "2.0",
    "item": {"name": "b.png", "slots": [{"width": 40, "height": 50, "source_files": [{"file_name": "b.png"}]}]},
    "annotations": [
        {"name": "Lung", "polygon": {"paths": [SQUARE]}, "bounding_box": {"x": 4, "y": 6, "w": 16, "h": 24}},
        {"name": "Lung", "line": {"path": SQUARE}},
    ],
}


@pytest.fixture
def tree(tmp_path):
    for name, content in (("1", FIRST), ("2", SECOND)):
        (tmp_path / "v7_darwin").mkdir(exist_ok=True)
        (tmp_path / "v7_darwin" / f"{name}.json").write_text(json.dumps(content))
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png", (40, 50))
    return tmp_path


def test_both_versions_read_as_coco(tree):
    manifest = index_dataset("v7_lungs", tree)
    first, second = manifest
    assert manifest.classes.masks == ("Lung",)
    assert first.masks[0].data == second.masks[0].data
    assert (first.patient_id, first.view, first.sex) == ("covidcxr:245", "AP", "F")
    box = second.boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (4, 6, 20, 30)
    # the first image's lung has no box: unknown there
    assert (first.boxes_annotated, second.boxes_annotated) == ([], [0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": []}, r"1.json: not Darwin JSON \(KeyError: 'image'\)"),
        ([], "not Darwin JSON"),
        (
            {**FIRST, "annotations": [{"name": "Lung", "complex_polygon": {"path": [SQUARE, SQUARE]}}]},
            "annotation 'Lung': a polygon of 2 paths",
        ),
        (
            {**FIRST, "annotations": [{"name": "Lung", "polygon": {"path": SQUARE, "additional_paths": [SQUARE]}}]},
            "a polygon of 2 paths",
        ),
    ],
)
def test_refuses(tmp_path, content, message):
    path = tmp_path / "1.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_darwin([path])


def test_an_option_that_names_nothing(tree):
    with pytest.raises(DataError, match="there is no COCO annotation file, or folder of Darwin JSON"):
        index_dataset("coco", tree, options={"annotations": "none.json|nothing"})
