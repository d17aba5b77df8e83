"""Fitting an image with its boxes and masks into the square that networks take."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from fx_monai.data.letterbox import letterbox
from fx_monai.data.transforms.arrays import of_type, planes, to_array
from fx_monai.keys import BOXES, FRAME, IMAGE, MASKS
from fx_monai.ops.affine import Matrix, letterbox_matrix
from fx_monai.ops.boxes import clip_boxes_xyxy, map_boxes_xyxy


class Letterboxd(MapTransform):
    """Fit image, boxes and masks into a square, centred, aspect kept, padded with 0; areas are averaged.

    ``image`` (..., H, W) and ``masks`` (K, H, W) may have any size; ``boxes`` (N, 4) are xyxy pixels of the annotation
    frame. ``frame`` (width, height) tells it; without this key it is the image. A MetaTensor's affine follows.

    Args:
        size: side of the square in pixels.
    """

    def __init__(self, size: int) -> None:
        MapTransform.__init__(self, [IMAGE, BOXES, MASKS], allow_missing_keys=True)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dict with the keys transformed."""
        out = dict(data)
        width, height = (int(side) for side in out.get(FRAME, out[IMAGE].shape[:-3:-1]))
        if BOXES in out:
            mapped = map_boxes_xyxy(to_array(out[BOXES]), letterbox_matrix(width, height, self.size))
            out[BOXES] = of_type(clip_boxes_xyxy(mapped, self.size)[0], out[BOXES])
        image, matrix = self._fit(to_array(out[IMAGE]), (width, height))
        out[IMAGE] = of_type(image, out[IMAGE], matrix)
        if MASKS in out:
            soft, matrix = self._fit(to_array(out[MASKS]) * np.uint8(255), (width, height))
            out[MASKS] = of_type((soft > 127).astype(np.uint8), out[MASKS], matrix)
        out.pop(FRAME, None)
        return out

    def _fit(self, pixels: NDArray[Any], frame: tuple[int, int]) -> tuple[NDArray[Any], Matrix]:
        """Return the (..., S, S) result and the matrix from the pixels to it."""
        fitted = [letterbox(plane, self.size, aspect=frame) for plane in planes(pixels)]
        result = np.array(fitted, dtype=pixels.dtype).reshape(*pixels.shape[:-2], self.size, self.size)
        height, width = pixels.shape[-2:]
        return result, letterbox_matrix(*frame, self.size) @ np.diag([frame[0] / width, frame[1] / height, 1])
