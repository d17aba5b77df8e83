"""Boxes against their annotation frame, with messages that name file and row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fx_monai.data.manifest import Box
from fx_monai.errors import DataError

TOLERANCE = 1.0


def frame_box(corners: Sequence[float], class_index: int, frame: tuple[int, int], *, where: str) -> Box:
    """Return a box that lies in its frame; up to one pixel outside (rounding of other tools) is clipped.

    Args:
        corners: x1, y1, x2, y2 in pixels of the annotation frame.
        class_index: index of the box class.
        frame: (width, height) in pixels; (0, 0) = unknown, then only the area is checked.
        where: file and row, for the message.

    Raises:
        DataError: not finite, no area, or more than one pixel outside.
    """
    x1, y1, x2, y2 = corners
    width, height = frame
    shown = ", ".join(f"{value:g}" for value in corners)
    if not all(math.isfinite(value) for value in corners) or x2 <= x1 or y2 <= y1:
        raise _bad(where, f"box ({shown}) has no area", "x1 < x2, y1 < y2")
    if frame == (0, 0):
        return Box(x1, y1, x2, y2, class_index)
    if min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
        raise _bad(where, f"box ({shown}) lies outside the image", f"xyxy pixels inside {width} x {height}")
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise _bad(where, f"box ({shown}) lies outside the image", f"xyxy pixels inside {width} x {height}")
    return Box(*clipped, class_index)


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(
        where=where, problem=problem, expected=expected, remedy="Correct the box in the annotation file or remove it"
    )


def clipped_box(
    corners: Sequence[float], class_index: int, frame: tuple[int, int], *, reader: str = ""
) -> tuple[Box | None, bool]:
    """Return the part of a box that lies in its frame (None when nothing does), and whether that is less than the box.

    For sets known to hold boxes that leave the image; arguments as in :func:`frame_box`.
    """
    x1, y1, x2, y2 = corners
    if frame != (0, 0):
        x1, x2 = (min(max(x, 0.0), float(frame[0])) for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), float(frame[1])) for y in (y1, y2))
    box = Box(x1, y1, x2, y2, class_index, reader) if x1 < x2 and y1 < y2 else None
    return box, (x1, y1, x2, y2) != tuple(corners)
