"""Which class a mirror image turns which into."""

import pytest

from fx_monai.data.catalog import READERS
from fx_monai.data.laterality import has_side, mirror_swaps


@pytest.mark.parametrize(
    "names",
    [
        ("left lung", "right lung"),
        ("LeftLung", "RightLung"),
        ("Lung L", "Lung R"),
        ("L1", "R1"),
        ("lung_lt", "lung_rt"),
        ("leftlung", "rightlung"),
        ("LungLEFT", "LungRIGHT"),
    ],
)
def test_names_that_differ_in_the_side_alone_are_a_pair(names):
    assert mirror_swaps((*names, "heart")) == {0: 1, 1: 0}


@pytest.mark.parametrize("names", [("left lung", "heart"), ("bright", "dark"), ("L1", "R2"), ("Hernia", "hernia")])
def test_other_names_are_none(names):
    assert mirror_swaps(names) == {}


def test_names_that_could_be_two_pairs_are_left_to_the_catalogue():
    names = ("left lung", "Left_Lung", "right lung")
    assert mirror_swaps(names) == {}
    assert mirror_swaps(names, [("left lung", "right lung")]) == {0: 2, 2: 0}


def test_every_pair_of_the_catalogue_is_told_by_its_names():
    specs = [spec for reader in set(READERS.values()) for spec in reader.SPECS]
    for spec in specs:
        for pair in spec.laterality:
            assert mirror_swaps(pair) == {0: 1, 1: 0}, (spec.name, pair)


def test_a_side_is_a_word():
    assert has_side("LeftLung")
    assert has_side("lung (right)")
    assert not has_side("upright view")
    assert not has_side("L")
