"""Augmentation: one resampling for image, boxes and masks; intensities drawn twice, for student and teacher.

The classes are MONAI transforms and can be used alone. Arrays are (H, W), pixel coordinates are continuous with the
origin at the top left corner of the first pixel.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from monai.transforms import Randomizable, RandomizableTransform
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray

from fx_monai.errors import ConfigError
from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, IMAGE, LABELS, MASKS, MASKS_ANNOTATED, TEACHER_IMAGE
from fx_monai.ops.boxes import clip_boxes_xyxy, map_boxes_xyxy

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied; 0 switches a part off.

    Args:
        rotation_deg: largest rotation, degrees, both ways.
        scale: largest change of size, fraction, both ways.
        translate: largest shift, fraction of the image side.
        flip: mirror half of the images; left and right classes swap.
        brightness: largest shift of grey values, fraction of the range.
        contrast: largest change of contrast, fraction.
        gamma: largest change of the exponent, as |log(gamma)|.
        noise: largest standard deviation of Gaussian noise, fraction of the range.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    rotation_deg: float = 7.0
    scale: float = 0.1
    translate: float = 0.05
    flip: bool = False
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.25
    noise: float = 0.02

    def __post_init__(self) -> None:
        """Refuse strengths that make no sense."""
        limits = {
            "rotation_deg": 180.0,
            "scale": 0.9,
            "translate": 0.9,
            "brightness": 1,
            "contrast": 1,
            "gamma": 3,
            "noise": 1,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ConfigError(
                    where=f"augmentation.{name}",
                    problem=f"{value}",
                    expected=f"0 to {limit}",
                    remedy="Correct the value",
                )


def letterbox_matrix(width: int, height: int, side: int) -> Matrix:
    """Return the 2 x 3 matrix that fits a width x height image into a square, centred, aspect kept."""
    scale = side / max(width, height)
    return np.array([[scale, 0, (side - width * scale) / 2], [0, scale, (side - height * scale) / 2]])


def warp(image: NDArray[Any], matrix: Matrix, size: tuple[int, int]) -> NDArray[Any]:
    """Resample an image bilinearly, outside is 0.

    Args:
        image: (H, W).
        matrix: 2 x 3, from coordinates of the image to those of the result.
        size: (width, height) of the result.
    """
    # OpenCV counts from pixel centres
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR)


class RandomGeometryd(RandomizableTransform, MapTransform):
    """Rotate, scale, shift and perhaps mirror image, boxes and masks with one resampling.

    Keys that are absent are left alone: ``image`` (S, S) uint8 or uint16; ``boxes`` (N, 4) float32 xyxy pixels with
    ``box_labels`` (N,), boxes of which less than 30 % stays inside are dropped; ``masks`` (K, S, S) uint8. A mirror
    image swaps left and right classes, in ``labels``, ``boxes_annotated`` and ``masks_annotated`` (K,) too.

    Args:
        augmentation: strengths.
        swap_boxes: class index -> class index of the mirror image, for boxes.
        swap_masks: the same for mask channels.
        swap_labels: the same for image-level labels.
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
        side = out[IMAGE].shape[-1]
        self.randomize(side)
        out[IMAGE] = warp(out[IMAGE], self.matrix, (side, side))
        if BOXES in out:
            boxes, inside = clip_boxes_xyxy(map_boxes_xyxy(out[BOXES], self.matrix), side)
            labels = out[BOX_LABELS]
            if self.mirrored:
                labels = np.array([self.swap_boxes.get(int(i), int(i)) for i in labels], dtype=np.int64)
            out[BOXES], out[BOX_LABELS] = boxes[inside], labels[inside]
        if MASKS in out:
            out[MASKS] = self._warp_masks(out[MASKS], side)
        if self.mirrored:
            swaps = {LABELS: self.swap_labels, BOXES_ANNOTATED: self.swap_boxes, MASKS_ANNOTATED: self.swap_masks}
            for key in swaps.keys() & out.keys():
                out[key] = out[key][[swaps[key].get(index, index) for index in range(len(out[key]))]]
        return out

    def _warp_masks(self, masks: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        warped = np.zeros_like(masks)
        for channel, mask in enumerate(masks):
            if mask.any():
                target = self.swap_masks.get(channel, channel) if self.mirrored else channel
                warped[target] = warp(mask * np.uint8(255), self.matrix, (side, side)) > 127
        return warped


class RandomIntensity(RandomizableTransform):
    """Vary brightness, contrast and gamma by one look-up table, then add noise.

    Args:
        augmentation: strengths.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__(prob=1.0)
        self.augmentation = augmentation

    def randomize(self, levels: int = 256) -> None:
        """Draw table and noise for images of so many grey levels."""
        super().randomize(None)
        a = self.augmentation
        grey = np.linspace(0, 1, levels) ** np.exp(self.R.uniform(-a.gamma, a.gamma))
        grey = (grey - 0.5) * (1 + self.R.uniform(-a.contrast, a.contrast)) + 0.5
        grey += self.R.uniform(-a.brightness, a.brightness)
        self.table = (grey.clip(0, 1) * (levels - 1) + 0.5).astype(np.uint8 if levels == 256 else np.uint16)
        self.noise = self.R.uniform(0, a.noise) * (levels - 1)
        self.noise_seed = int(self.R.randint(2**31))

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the varied (S, S) image, uint8 or uint16 as it came."""
        highest = np.iinfo(image.dtype).max
        self.randomize(highest + 1)
        varied = cv2.LUT(image, self.table) if highest == 255 else self.table[image]
        if self.noise < 0.5:
            return varied
        noise = np.random.default_rng(self.noise_seed).standard_normal(image.shape, dtype=np.float32)
        return np.clip(varied + noise * self.noise, 0, highest).astype(image.dtype)


class TwoViewsd(Randomizable, MapTransform):
    """Give student (``image``) and teacher (``teacher_image``) the same geometry and independent intensities.

    Source: Foundation X (WACV 2025), method figure: an augmentation on both inputs.

    Args:
        augmentation: strengths.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        MapTransform.__init__(self, [IMAGE])
        self.intensity = RandomIntensity(augmentation)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> TwoViewsd:
        """Seed the draws."""
        super().set_random_state(seed, state)
        self.intensity.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dict with both views."""
        image = data[IMAGE]
        return {**data, IMAGE: self.intensity(image), TEACHER_IMAGE: self.intensity(image)}
