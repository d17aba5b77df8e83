import math

import pytest

from fx_monai.data.manifest import Box
from fx_monai.data.readers.frame import frame_box
from fx_monai.errors import DataError


def test_a_pixel_outside_is_clipped():
    assert frame_box((-1, -0.5, 101, 50), 2, (100, 50), where="f") == Box(0, 0, 100, 50, 2)
    assert frame_box((1, 2, 3, 4), 0, (100, 50), where="f") == Box(1, 2, 3, 4, 0)


@pytest.mark.parametrize("corners", [(-1.1, 0, 5, 5), (0, -2, 5, 5), (0, 0, 101.5, 5), (0, 0, 5, 52), (100, 0, 101, 5)])
def test_more_is_refused_with_box_and_frame(corners):
    shown = ", ".join(f"{value:g}" for value in corners)
    with pytest.raises(DataError, match=rf"t.csv, line 7: box \({shown}\) lies outside .* inside 100 x 50"):
        frame_box(corners, 0, (100, 50), where="t.csv, line 7")


@pytest.mark.parametrize("corners", [(5, 0, 5, 5), (5, 5, 6, 4), (math.nan, 0, 5, 5), (0, 0, math.inf, 5)])
def test_boxes_without_area_are_refused(corners):
    with pytest.raises(DataError, match="has no area"):
        frame_box(corners, 0, (100, 50), where="f")
