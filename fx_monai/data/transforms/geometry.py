"""Random geometry: one resampling for image, boxes and masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.transforms import RandomizableTransform
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from fx_monai.data.transforms.arrays import of_type, planes, square_side, to_array
from fx_monai.data.transforms.augmentation import Augmentation
from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, IMAGE, LABELS, MASKS, MASKS_ANNOTATED
from fx_monai.ops.affine import Matrix, warp
from fx_monai.ops.boxes import clip_boxes_xyxy, map_boxes_xyxy


class RandomGeometryd(RandomizableTransform, MapTransform):
    """Rotate, scale, shift and perhaps mirror image, boxes and masks with one resampling.

    Keys that are absent are left alone: ``image`` (..., S, S); ``boxes`` (N, 4) float32 xyxy pixels with
    ``box_labels`` (N,), boxes of which less than 30 % stays inside are dropped; ``masks`` (K, S, S) uint8. A mirror
    image swaps left and right classes, in ``labels``, ``boxes_annotated`` and ``masks_annotated`` (K,) too. A
    MetaTensor's affine follows the image; the transform has no inverse.

    Args:
        augmentation: strengths.
        swap_boxes: class index -> class index of the mirror image, for boxes.
        swap_masks: the same for mask channels.
        swap_labels: the same for image-level labels.

    Raises:
        ConfigError: (when called) the image is not square.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        *,
        swap_boxes: Mapping[int, int] | None = None,
        swap_masks: Mapping[int, int] | None = None,
        swap_labels: Mapping[int, int] | None = None,
    ) -> None:
        MapTransform.__init__(self, [IMAGE, BOXES, MASKS], allow_missing_keys=True)
        RandomizableTransform.__init__(self, prob=1.0)
        self.augmentation = augmentation
        self.swap_boxes = dict(swap_boxes or {})
        self.swap_masks = dict(swap_masks or {})
        self.swap_labels = dict(swap_labels or {})
        self.matrix: Matrix = np.eye(2, 3)
        self.mirrored = False

    def randomize(self, side: int) -> None:
        """Draw the matrix for a square image of the given side in pixels."""
        super().randomize(None)
        a = self.augmentation
        angle = np.deg2rad(self.R.uniform(-a.rotation_deg, a.rotation_deg))
        scale = 1 + self.R.uniform(-a.scale, a.scale)
        shift = self.R.uniform(-a.translate, a.translate, 2) * side
        self.mirrored = bool(a.flip and self.R.uniform() < 0.5)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        centre = np.array([side / 2, side / 2])
        self.matrix = np.column_stack([linear, centre - linear @ centre + shift])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dict with the keys transformed."""
        out = dict(data)
        side = square_side(out[IMAGE], "RandomGeometryd")
        self.randomize(side)
        image = to_array(out[IMAGE])
        warped = [warp(plane, self.matrix, (side, side)) for plane in planes(image)]
        out[IMAGE] = of_type(np.stack(warped).reshape(image.shape), out[IMAGE], self.matrix)
        if BOXES in out:
            self._move_boxes(out, side)
        if MASKS in out:
            out[MASKS] = of_type(self._warp_masks(to_array(out[MASKS]), side), out[MASKS], self.matrix)
        if self.mirrored:
            swaps = {LABELS: self.swap_labels, BOXES_ANNOTATED: self.swap_boxes, MASKS_ANNOTATED: self.swap_masks}
            for key in swaps.keys() & out.keys():
                out[key] = out[key][[swaps[key].get(index, index) for index in range(len(out[key]))]]
        return out

    def _move_boxes(self, out: dict[Hashable, Any], side: int) -> None:
        boxes, inside = clip_boxes_xyxy(map_boxes_xyxy(to_array(out[BOXES]), self.matrix), side)
        labels = to_array(out[BOX_LABELS])
        if self.mirrored:
            labels = np.array([self.swap_boxes.get(int(i), int(i)) for i in labels], dtype=np.int64)
        out[BOXES], out[BOX_LABELS] = of_type(boxes[inside], out[BOXES]), of_type(labels[inside], out[BOX_LABELS])

    def _warp_masks(self, masks: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        warped = np.zeros_like(masks)
        for channel, mask in enumerate(masks):
            if mask.any():
                target = self.swap_masks.get(channel, channel) if self.mirrored else channel
                warped[target] = warp(mask * np.uint8(255), self.matrix, (side, side)) > 127
        return warped
