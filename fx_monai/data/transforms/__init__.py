"""MONAI transforms for radiographs with labels, boxes and masks; each can be used alone in a ``Compose``.

They read and write the keys of :mod:`fx_monai.keys` and take NumPy arrays, torch tensors and MetaTensors.
"""

from fx_monai.data.transforms.augmentation import Augmentation
from fx_monai.data.transforms.geometry import RandomGeometryd
from fx_monai.data.transforms.intensity import RandomIntensity, TwoViewsd
from fx_monai.data.transforms.letterbox import Letterboxd
from fx_monai.data.transforms.masks import RasteriseMasksd
from fx_monai.data.transforms.reader import RadiographReader

__all__ = [
    "Augmentation",
    "Letterboxd",
    "RadiographReader",
    "RandomGeometryd",
    "RandomIntensity",
    "RasteriseMasksd",
    "TwoViewsd",
]
