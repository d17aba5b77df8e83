"""Sides that a set draws the wrong way are noted, whatever form its annotations have."""

import json

import pytest

from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.readers.sides import swapped_sides_note

PAIRS = (("L1", "R1"), ("L2", "R2"))
NAMES = ("L1", "R1", "L2", "R2")


def polygon(index, left):
    return Mask(index, "polygon", json.dumps([[left, 5, left + 20, 5, left + 20, 50]]))


def record(*shown, **fields):
    """Return an image of 100 pixels with (class, left edge) as masks."""
    return Record("d", "a", "a.png", 100, 60, masks=[polygon(*item) for item in shown], **fields)


@pytest.mark.parametrize(
    ("records", "swapped"),
    [
        ([record((0, 70), (1, 10))], False),
        ([record((0, 10), (1, 70))], True),
        ([record((2, 10), (3, 70))], True),
        ([record((0, 10)), record((0, 70), (1, 10)), record((2, 10), (1, 70))], False),
        ([record()] * 9 + [record((0, 10), (1, 70))], True),
        ([], False),
    ],
)
def test_masks(tmp_path, records, swapped):
    note = swapped_sides_note(records, Classes(masks=NAMES), PAIRS, tmp_path)
    assert bool(note) == swapped
    assert swapped_sides_note(records, Classes(masks=NAMES), (), tmp_path) == ""


def test_boxes(tmp_path):
    for left, right, swapped in ((70, 10, False), (10, 70, True)):
        boxes = [Box(left, 5, left + 9, 9, 0), Box(right, 5, right + 9, 9, 1)]
        note = swapped_sides_note([record(boxes=boxes)], Classes(boxes=NAMES), PAIRS, tmp_path)
        assert ("look swapped" in note) == swapped
