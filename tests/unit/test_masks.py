import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fx_monai.errors import DataError
from fx_monai.ops.masks import (
    absolute_rle_to_coco,
    checked_coco_rle,
    coco_rle_to_box,
    decode_coco_rle,
    encode_absolute_rle,
    encode_coco_rle,
    encode_relative_rle,
    mask_to_box,
    polygons_to_coco,
    relative_rle_to_coco,
    uncompressed_to_coco,
)

# the unit vector of the three public dialects (H = 4, W = 5)
MASK = np.array([[0, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=np.uint8)


def test_relative_dialect():
    rle = relative_rle_to_coco("5 2 2 2 3 1 1 1 2 1", height=4, width=5, where="x")
    assert np.array_equal(decode_coco_rle(rle), MASK)
    assert encode_relative_rle(MASK) == "5 2 2 2 3 1 1 1 2 1"


def test_absolute_row_major_dialect():
    rle = absolute_rle_to_coco("5 1 7 2 12 3 20 1", height=4, width=5, where="x")
    assert rle == encode_coco_rle(MASK)
    assert encode_absolute_rle(MASK) == "5 1 7 2 12 3 20 1"


def test_the_generic_dialect_of_kaggle_is_none_of_them():
    text = "6 2 10 2 15 1 17 1 20 1"
    assert absolute_rle_to_coco(text, height=4, width=5, where="x") != encode_coco_rle(MASK)
    with pytest.raises(DataError, match="beyond the frame"):
        relative_rle_to_coco(text, height=4, width=5, where="x")


def test_coco_dialect():
    assert encode_coco_rle(MASK) == {"size": [4, 5], "counts": "52201ON010"}
    assert np.array_equal(decode_coco_rle({"size": [4, 5], "counts": "52201ON010"}), MASK)
    uncompressed = {"size": [4, 5], "counts": [5, 2, 2, 2, 3, 1, 1, 1, 2, 1]}
    assert uncompressed_to_coco(uncompressed, where="x")["counts"] == "52201ON010"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5 2 2", "3 numbers"),
        ("5 -2", "negative number -2"),
        ("5 x", "not a number"),
        ("5 99", "84 pixels beyond the frame"),
    ],
)
def test_relative_dialect_refuses(text, message):
    with pytest.raises(DataError, match=message):
        relative_rle_to_coco(text, height=4, width=5, where="file, row 3")


def test_absolute_dialect_refuses_runs_outside():
    with pytest.raises(DataError, match="outside the frame"):
        absolute_rle_to_coco("20 2", height=4, width=5, where="x")
    with pytest.raises(DataError, match="outside the frame"):
        absolute_rle_to_coco("0 1", height=4, width=5, where="x")


def test_uncompressed_refuses_wrong_sum():
    with pytest.raises(DataError, match="add up to 3"):
        uncompressed_to_coco({"size": [4, 5], "counts": [3]}, where="x")


def test_coco_text_is_checked():
    good = {"size": [4, 5], "counts": "52201ON010"}
    assert checked_coco_rle(good, where="x") == good
    for counts in ("52201ON01", "zz", "5220\n", "52201ON0101"):
        with pytest.raises(DataError):
            checked_coco_rle({"size": [4, 5], "counts": counts}, where="x")


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_round_trips(mask):
    height, width = mask.shape
    assert np.array_equal(decode_coco_rle(encode_coco_rle(mask)), mask)
    assert checked_coco_rle(encode_coco_rle(mask), where="x") == encode_coco_rle(mask)
    text = encode_relative_rle(mask)
    if mask.any():
        rle = relative_rle_to_coco(text, height=height, width=width, where="x")
        assert np.array_equal(decode_coco_rle(rle), mask)
    else:
        assert text == "-1"


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_absolute_round_trips_and_bounds(mask):
    height, width = mask.shape
    rle = absolute_rle_to_coco(encode_absolute_rle(mask), height=height, width=width, where="x")
    assert rle == encode_coco_rle(mask)
    assert coco_rle_to_box(rle) == mask_to_box(mask)


@given(st.integers(1, 7), st.integers(1, 7), st.lists(st.tuples(st.integers(0, 48), st.integers(0, 48)), max_size=6))
def test_absolute_runs_in_any_order_may_overlap_touch_and_be_empty(height, width, runs):
    runs = [(start % (height * width), length) for start, length in runs]
    runs = [(start, min(length, height * width - start)) for start, length in runs]
    flat = np.zeros(height * width, np.uint8)
    for start, length in runs:
        flat[start : start + length] = 1
    text = " ".join(f"{start + 1} {length}" for start, length in runs)
    rle = absolute_rle_to_coco(text, height=height, width=width, where="x")
    assert rle == encode_coco_rle(flat.reshape(height, width))


def test_polygon_fills_its_inside():
    rle = polygons_to_coco([[1, 1, 4, 1, 4, 3, 1, 3]], height=5, width=6)
    expected = np.zeros((5, 6), np.uint8)
    expected[1:3, 1:4] = 1
    assert np.array_equal(decode_coco_rle(rle), expected)


def test_bounds():
    assert mask_to_box(MASK) == (1, 0, 5, 4)
    assert mask_to_box(np.zeros((3, 3))) is None
