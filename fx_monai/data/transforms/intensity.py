"""Random intensities, drawn twice: for the student's and for the teacher's view."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
from monai.transforms import Randomizable, RandomizableTransform
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray
from scipy.special import ndtri

from fx_monai.data.transforms.arrays import of_type, to_array
from fx_monai.data.transforms.augmentation import Augmentation
from fx_monai.errors import ConfigError
from fx_monai.keys import IMAGE, TEACHER_IMAGE


def _normal_quantiles() -> NDArray[np.float32]:
    values = ndtri((np.arange(256) + 0.5) / 256)
    return (values / values.std()).astype(np.float32)


# 256 equally likely values of a standard normal distribution: a random byte becomes noise by one look-up
_NORMAL = _normal_quantiles()


class RandomIntensity(RandomizableTransform):
    """Vary brightness, contrast and gamma by one look-up table, then add noise.

    The noise is independent from pixel to pixel; its distribution is a normal one in 256 equally likely steps, so it
    ends at 2.9 standard deviations.

    Args:
        augmentation: strengths.

    Raises:
        ConfigError: (when called) the image is neither uint8, uint16 nor floating point.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__(prob=1.0)
        self.augmentation = augmentation

    def randomize(self, data: Any = None) -> None:
        """Draw the grey curve and the noise."""
        super().randomize(None)
        a = self.augmentation
        self.gamma = float(np.exp(self.R.uniform(-a.gamma, a.gamma)))
        self.contrast = 1 + self.R.uniform(-a.contrast, a.contrast)
        self.brightness = self.R.uniform(-a.brightness, a.brightness)
        self.noise = self.R.uniform(0, a.noise)
        self.noise_seed = int(self.R.randint(2**31))

    def __call__(self, image: Any) -> Any:
        """Return the varied image of any shape, of the type it came: uint8, uint16, or floating point in 0 to 1."""
        self.randomize()
        return of_type(self._vary(to_array(image)), image)

    def _vary(self, image: NDArray[Any]) -> NDArray[Any]:
        # OpenCV takes the last of three dimensions for colours
        flat = image.reshape(-1, image.shape[-1])
        if image.dtype.kind == "f":
            varied = (self._curve(flat.clip(0, 1)) + self._noise(flat.shape, 1)).clip(0, 1).astype(image.dtype)
        elif image.dtype in (np.uint8, np.uint16):
            varied = self._vary_integers(flat, int(np.iinfo(image.dtype).max))
        else:
            raise ConfigError(
                where="RandomIntensity",
                problem=f"the image is {image.dtype}",
                expected="uint8, uint16, or floating point from 0 to 1",
                remedy="Convert the image",
            )
        return varied.reshape(image.shape)

    def _vary_integers(self, image: NDArray[Any], highest: int) -> NDArray[Any]:
        table = (self._curve(np.linspace(0, 1, highest + 1)) * highest + 0.5).astype(image.dtype)
        varied = cv2.LUT(image, table) if image.dtype == np.uint8 else table[image]
        if self.noise * highest < 0.5:
            return varied
        # rounds, and stays within the range
        return cv2.add(varied, self._noise(image.shape, highest), dtype=cv2.CV_8U if highest == 255 else cv2.CV_16U)

    def _curve(self, grey: NDArray[Any]) -> NDArray[Any]:
        return ((grey**self.gamma - 0.5) * self.contrast + 0.5 + self.brightness).clip(0, 1)

    def _noise(self, shape: tuple[int, int], highest: int) -> NDArray[np.float32]:
        size = shape[0] * shape[1]
        drawn = np.random.SFC64(self.noise_seed).random_raw(-(-size // 8)).view(np.uint8)[:size]
        return cv2.LUT(drawn.reshape(shape), _NORMAL * np.float32(self.noise * highest))


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
        self.intensity.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dict with both views."""
        image = data[IMAGE]
        return {**data, IMAGE: self.intensity(image), TEACHER_IMAGE: self.intensity(image)}
