"""From a phantom's maps to a grey image: attenuation, noise, the look of a site, marks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fx_monai.demo.anatomy import Anatomy, Map

# linear attenuation at about 70 keV, 1/cm
WATER, BONE = 0.19, 0.52


@dataclass(frozen=True)
class Site:
    """The look of a hospital's images.

    Args:
        photons: per pixel behind no patient; fewer = more noise.
        curve: steepness of the grey curve.
        gamma: of the display.
        blur: of the detector, pixels at 256.
        sharpen: strength of edge enhancement.
        border: widest collimation border, fraction of the side.
        marker: side of the letter at the image's upper edge, fraction.
    """

    photons: float
    curve: float
    gamma: float
    blur: float
    sharpen: float
    border: float
    marker: float


SITES = {
    "nih_chestxray14": Site(60_000, 1.0, 1.0, 0.5, 0.4, 0.03, 0.05),
    "rsna_pneumonia": Site(30_000, 1.15, 0.9, 0.6, 0.2, 0.05, 0.06),
    "chestx_det": Site(80_000, 0.95, 1.1, 0.45, 0.5, 0.02, 0.05),
    "siim_acr": Site(25_000, 1.25, 0.95, 0.55, 0.6, 0.06, 0.07),
    "montgomery": Site(90_000, 0.9, 1.15, 0.7, 0.0, 0.04, 0.045),
    "chexpert": Site(45_000, 1.1, 0.95, 0.55, 0.3, 0.04, 0.055),
    "mimic_cxr": Site(40_000, 1.05, 1.05, 0.5, 0.5, 0.04, 0.06),
    "vindr_cxr": Site(70_000, 1.0, 1.05, 0.5, 0.3, 0.03, 0.05),
    "vindr_ribcxr": Site(70_000, 1.0, 1.05, 0.5, 0.3, 0.03, 0.05),
    "padchest": Site(55_000, 0.95, 1.0, 0.6, 0.2, 0.05, 0.05),
    "shenzhen": Site(65_000, 1.0, 1.1, 0.55, 0.3, 0.03, 0.05),
    "tbx11k": Site(50_000, 1.05, 1.0, 0.5, 0.4, 0.03, 0.05),
    "node21": Site(60_000, 1.0, 1.0, 0.5, 0.3, 0.0, 0.0),
    "candid_ptx": Site(45_000, 1.1, 1.0, 0.55, 0.4, 0.05, 0.06),
    "jsrt": Site(90_000, 0.95, 1.1, 0.6, 0.0, 0.03, 0.0),
}


def expose(anatomy: Anatomy, site: Site, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return the (S, S) uint8 image, bone bright.

    Args:
        anatomy: maps with all findings applied.
        site: look.
        generator: of noise, exposure and marks.
    """
    side = anatomy.side
    path = WATER * (anatomy.tissue - anatomy.air + anatomy.vessels).clip(0) + BONE * anatomy.bone
    path = cv2.GaussianBlur(path, (0, 0), site.blur * side / 256)
    photons = site.photons * np.exp(generator.normal(0, 0.4)) * np.exp(-path)
    noisy = path + generator.standard_normal(path.shape).astype(np.float32) / np.sqrt(photons + 1)
    if site.sharpen:
        noisy = noisy + site.sharpen * (noisy - cv2.GaussianBlur(noisy, (0, 0), 0.02 * side))
    centre = np.percentile(noisy, generator.uniform(42, 58))
    width = site.curve * generator.uniform(0.75, 1.25)
    grey = 1 / (1 + np.exp(-width * 1.7 * (noisy - centre)))
    grey = grey ** (site.gamma * np.exp(generator.normal(0, 0.12)))
    grey = grey * generator.uniform(0.82, 1.0) + generator.uniform(0, 0.08)
    grey = _marks(grey.astype(np.float32), site, generator)
    return (grey.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _marks(grey: Map, site: Site, generator: np.random.Generator) -> Map:
    side = grey.shape[0]
    for edge in range(4):
        depth = int(max(0.0, generator.uniform(-site.border, site.border)) * side)
        if depth:
            view = np.rot90(grey, edge)
            view[:depth] = 0.03
    letter = "L" if generator.uniform() < 0.5 else "R"
    x = generator.uniform(0.8, 0.9) if letter == "L" else generator.uniform(0.05, 0.12)
    y = generator.uniform(0.07, 0.16)
    scale = site.marker * side / 22
    drawn = np.zeros(grey.shape, dtype=np.uint8)
    cv2.putText(drawn, letter, (int(x * side), int(y * side)), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    grey = np.maximum(grey, drawn.astype(np.float32) / 270)
    if generator.uniform() < 0.25:
        grey += generator.uniform(0.12, 0.25) * _line(side, generator)
    return grey


def _line(side: int, generator: np.random.Generator) -> Map:
    """Return a catheter or cable, which is no finding."""
    t = np.linspace(0, 1, 24)
    start, end = generator.uniform(0.2, 0.8, 2), generator.uniform(0.3, 0.8, 2)
    start[1] = 0.0
    middle = (start + end) / 2 + generator.normal(0, 0.12, 2)
    curve = np.outer((1 - t) ** 2, start) + np.outer(2 * t * (1 - t), middle) + np.outer(t**2, end)
    layer = np.zeros((side, side), dtype=np.uint8)
    cv2.polylines(layer, [np.round(curve * side * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    return layer.astype(np.float32) / np.float32(255)
