"""Findings: each changes the maps of an anatomy and says exactly where it is.

A finding is never placed without a mask; boxes are the bounds of masks. Contrast and size vary from plain to subtle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fx_monai.demo.anatomy import Anatomy, Map

NODULE, CONSOLIDATION, EFFUSION = "Nodule", "Consolidation", "Effusion"
PNEUMOTHORAX, CARDIOMEGALY, INFILTRATION = "Pneumothorax", "Cardiomegaly", "Infiltration"


@dataclass(frozen=True)
class Lesion:
    """One finding.

    Args:
        name: which.
        mask: (S, S) uint8.
    """

    name: str
    mask: NDArray[np.uint8]


def nodule(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """Add a round lesion of 4 to 11 % of the image width."""
    radius = generator.uniform(0.021, 0.056) * anatomy.side
    x, y = _spot(anatomy, generator, margin=0.6 * radius)
    distance = _distance(anatomy.side, x, y)
    lobes = 1 + 0.12 * np.sin(3 * _angle(anatomy.side, x, y) + generator.uniform(0, 6))
    height = np.sqrt((1 - (distance / (radius * lobes)) ** 2).clip(0))
    thickness = generator.uniform(1.9, 3.6) * height
    anatomy.tissue += cv2.GaussianBlur(thickness.astype(np.float32), (0, 0), 0.004 * anatomy.side)
    return Lesion(NODULE, (height > 0).astype(np.uint8))


def consolidation(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """Fill a part of a lung: irregular, soft-edged, with air bronchograms."""
    return _opacity(anatomy, generator, CONSOLIDATION, size=(0.075, 0.15), fill=(0.3, 0.55), grain=0.05)


def infiltration(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """Add patchy, grainy opacity in an upper lung field."""
    return _opacity(anatomy, generator, INFILTRATION, size=(0.08, 0.13), fill=(0.22, 0.4), grain=0.02, upper=True)


def _opacity(
    anatomy: Anatomy,
    generator: np.random.Generator,
    name: str,
    *,
    size: tuple[float, float],
    fill: tuple[float, float],
    grain: float,
    upper: bool = False,
) -> Lesion:
    side = anatomy.side
    radius = generator.uniform(*size) * side
    lung = anatomy.lungs[int(generator.integers(2))]
    x, y = _spot(anatomy, generator, lung=lung, margin=0.35 * radius, upper=upper)
    distance = _distance(side, x, y) / radius
    rough = _noise(side, 0.06, generator)
    mask = ((distance + 0.45 * rough < 0.85) & (lung > 0)).astype(np.uint8)
    mask = _largest(mask)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.014 * side)
    texture = (1 + 0.45 * _noise(side, grain, generator)).clip(0.1, 2)
    # the lung loses air where it fills with fluid
    share = (generator.uniform(*fill) * soft * texture).clip(0, 0.95)
    anatomy.air *= (1 - share).astype(np.float32)
    anatomy.vessels *= 1 - 0.7 * soft
    return Lesion(name, mask)


def effusion(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """Fill the base of a lung with fluid that rises towards the wall (meniscus)."""
    side = anatomy.side
    number = int(generator.integers(2))
    lung = anatomy.lungs[number]
    rows, columns = np.nonzero(lung)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    level = bottom - generator.uniform(0.14, 0.34) * (bottom - top)
    across = (np.arange(side) - left) / (right - left)
    lateral = 1 - across if number == 0 else across
    surface = level - 0.16 * (bottom - top) * np.clip(lateral, 0, 1) ** 3
    fluid = np.arange(side)[:, None] > surface[None, :]
    mask = _largest((fluid & (lung > 0)).astype(np.uint8))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.006 * side)
    anatomy.air *= 1 - generator.uniform(0.6, 0.95) * soft
    anatomy.tissue += generator.uniform(0.5, 2.0) * soft
    anatomy.vessels *= 1 - soft
    return Lesion(EFFUSION, mask)


def pneumothorax(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """Detach a lung from the wall: air without vessels outside a thin pleural line."""
    side = anatomy.side
    number = int(generator.integers(2))
    lung = anatomy.lungs[number]
    rows, columns = np.nonzero(lung)
    top, bottom = rows.min(), rows.max()
    middle = (columns.min() + columns.max()) / 2
    depth = generator.uniform(0.035, 0.085) * side
    # the retracted lung: shifted down and towards the hilum, most at the apex
    y = np.arange(side)[:, None]
    fall = (1 - ((y - top) / (generator.uniform(0.55, 0.9) * (bottom - top))).clip(0, 1)) ** 0.7
    towards = 1 if number == 0 else -1
    x_map, y_map = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    retracted = cv2.remap(
        lung,
        (x_map - towards * depth * fall).astype(np.float32),
        (y_map - 1.6 * depth * fall).astype(np.float32),
        cv2.INTER_NEAREST,
    )
    lateral = (x_map - middle) * towards < 0.28 * (columns.max() - columns.min())
    mask = _largest(((lung > 0) & (retracted == 0) & lateral).astype(np.uint8))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.004 * side)
    edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) * (lung > 0) * (anatomy.wall > 2)
    anatomy.vessels *= 1 - soft
    anatomy.air *= 1 + 0.16 * soft
    anatomy.tissue += generator.uniform(0.7, 1.3) * cv2.GaussianBlur(edge.astype(np.float32), (0, 0), 0.0025 * side)
    # the rest of the lung is a little denser
    anatomy.air *= 1 - 0.07 * ((lung > 0) & (mask == 0))
    return Lesion(PNEUMOTHORAX, mask)


# in this order, so that a large finding doesn't cover a small one
FINDINGS: dict[str, Callable[[Anatomy, np.random.Generator], Lesion]] = {
    EFFUSION: effusion,
    PNEUMOTHORAX: pneumothorax,
    CONSOLIDATION: consolidation,
    INFILTRATION: infiltration,
    NODULE: nodule,
}


def bounds(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 of a mask in its pixels, right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _spot(
    anatomy: Anatomy,
    generator: np.random.Generator,
    *,
    lung: NDArray[np.uint8] | None = None,
    margin: float,
    upper: bool = False,
) -> tuple[float, float]:
    """Return a point inside the lungs, a margin away from their border and outside the heart."""
    allowed = (anatomy.wall > margin) & (anatomy.heart == 0) & (anatomy.taken == 0)
    if lung is not None:
        allowed &= lung > 0
    rows, columns = np.nonzero(allowed)
    if upper and len(rows):
        keep = rows < np.quantile(rows, 0.5)
        rows, columns = rows[keep], columns[keep]
    if not len(rows):
        rows, columns = np.nonzero(anatomy.wall >= anatomy.wall.max() * 0.9)
    pick = int(generator.integers(len(rows)))
    return float(columns[pick]), float(rows[pick])


def _distance(side: int, x: float, y: float) -> Map:
    grid_y, grid_x = np.mgrid[:side, :side].astype(np.float32)
    return np.hypot(grid_x - x, grid_y - y)


def _angle(side: int, x: float, y: float) -> Map:
    grid_y, grid_x = np.mgrid[:side, :side].astype(np.float32)
    return np.arctan2(grid_y - y, grid_x - x)


def _noise(side: int, scale: float, generator: np.random.Generator) -> Map:
    """Return smooth noise with mean 0 and standard deviation 1; the scale is a fraction of the side."""
    field = cv2.GaussianBlur(generator.standard_normal((side, side)).astype(np.float32), (0, 0), scale * side / 2)
    return (field - field.mean()) / field.std()


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest connected part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count <= 2:
        return mask
    return (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
