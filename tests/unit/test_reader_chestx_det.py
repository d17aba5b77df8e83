import pytest

from fx_monai.data.readers.chestx_det import parse_entry
from fx_monai.errors import DataError

ENTRY = {
    "file_name": "5.png",
    "syms": ["Effusion"],
    "boxes": [[1, 2, 30, 1025]],
    "polygons": [[[1, 2], [30, 2], [30, 40]]],
}


def test_entry():
    parsed = parse_entry(ENTRY, "f")
    assert parsed["labels"].index(1) == 5
    assert parsed["boxes"][0].y2 == 1024
    assert parsed["masks"][0].data == "[[1, 2, 30, 2, 30, 40]]"
    assert parsed["masks"][0].encoding == "polygon"
    assert parsed["masks_annotated"] == parsed["boxes_annotated"] == list(range(13))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"syms": ["effusion"]}, "f, 5.png: unknown class 'effusion'"),
        ({"boxes": [[1, 2, 3]]}, "5.png: a box that isn't four numbers"),
        ({"boxes": [[1, 2, 30, "a"]]}, "a box that isn't four numbers"),
        ({"syms": None}, "f: 'syms' is a NoneType"),
        ({"file_name": 5}, "f: 'file_name' is a int"),
        ({"boxes": [[30, 2, 1, 40]]}, r"box \(30, 2, 1, 40\) has no area"),
        ({"polygons": [[[1, 2], [3, 4]]]}, "a polygon that isn't a list of points"),
        ({"polygons": [7]}, "a polygon that isn't a list of points"),
        ({"polygons": []}, "1 syms, 1 boxes, 0 polygons"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(DataError, match=message):
        parse_entry({**ENTRY, **change}, "f")


def test_chestx_det10_has_no_polygons_and_is_named():
    with pytest.raises(DataError, match="there is no 'polygons'"):
        parse_entry({key: value for key, value in ENTRY.items() if key != "polygons"}, "f")
