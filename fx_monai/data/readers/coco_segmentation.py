"""The forms in which COCO files hold a segmentation: polygons, run lengths as text or as numbers, JSON inside text."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from fx_monai.errors import DataError
from fx_monai.ops.masks import checked_coco_rle, polygons_to_coco, uncompressed_to_coco


@dataclass(frozen=True)
class Segmentation:
    """One annotation's mask, before its frame is known.

    Args:
        content: list of flat polygons x1, y1, x2, y2, ..., or a run-length dict with ``size`` and ``counts``.
        where: file and annotation, for messages.
    """

    content: Any
    where: str

    def to_coco_rle(self, frame: tuple[int, int]) -> str:
        """Return the mask as JSON of a COCO compressed RLE.

        Args:
            frame: (width, height) of the annotation frame in pixels.

        Raises:
            DataError: run lengths of another size than the frame, or that don't fill it.
        """
        width, height = frame
        if isinstance(self.content, list):
            _check_inside(self.content, frame, self.where)
            return json.dumps(polygons_to_coco(self.content, height=height, width=width))
        if list(self.content["size"]) != [height, width]:
            raise _bad(self.where, f"run lengths of size {self.content['size']}", f"the image's [{height}, {width}]")
        if isinstance(self.content["counts"], list):
            return json.dumps(uncompressed_to_coco(self.content, where=self.where))
        return json.dumps(checked_coco_rle(self.content, where=self.where))


def parse_segmentation(value: Any, where: str) -> Segmentation | None:
    """Return the segmentation of an annotation, None when it has none.

    Raises:
        DataError: neither polygons of at least 3 points nor run lengths.
    """
    if isinstance(value, str) and value.strip():
        # the V7 export writes the JSON of the segmentation into a text
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            raise _bad(where, "the segmentation is text that is not JSON", "polygons or run lengths") from None
    if not value:
        return None
    if isinstance(value, dict):
        if not {"size", "counts"} <= set(value):
            raise _bad(where, f"a segmentation with the keys {', '.join(value)}", "run lengths with size and counts")
        counts = value["counts"]
        if not isinstance(counts, str) and not (isinstance(counts, list) and all(isinstance(n, int) for n in counts)):
            raise _bad(where, "run lengths that are neither text nor whole numbers", "counts as COCO writes them")
        return Segmentation(value, where)
    if not isinstance(value, list):
        raise _bad(where, f"a segmentation of type {type(value).__name__}", "polygons or run lengths")
    polygons = value if isinstance(value[0], list) else [value]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise _bad(where, f"a polygon of {len(polygon)} numbers", "x, y pairs of at least 3 points")
        if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in polygon):
            raise _bad(where, "a polygon with something that is no number", "finite numbers x, y")
    return Segmentation(polygons, where)


def _check_inside(polygons: Any, frame: tuple[int, int], where: str) -> None:
    for polygon in polygons:
        low, high = (min(polygon[0::2]), min(polygon[1::2])), (max(polygon[0::2]), max(polygon[1::2]))
        if any(high[axis] <= 0 or low[axis] >= frame[axis] for axis in (0, 1)):
            raise _bad(where, "a polygon outside the image", f"pixels inside {frame[0]} x {frame[1]}")


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Correct the annotation or leave it out")
