"""A phantom's anatomy: how much tissue, air and bone a ray passes at every pixel.

Coordinates are fractions of the image side, x to the right, y down. The patient's left is at the right of the image.
All maps are (S, S) float32; tissue in cm of water, bone in cm of bone, air in cm of lung air.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Points = NDArray[np.float64]

# outline of the lung at the left of the image (the patient's right): apex, lateral wall, base, medial border
RIBS, RIB_WIDTH = 10, 0.02
_LUNG = np.array(
    [
        (0.345, 0.150), (0.300, 0.155), (0.255, 0.200), (0.215, 0.290), (0.185, 0.400), (0.165, 0.520), (0.155, 0.640),
        (0.160, 0.745), (0.200, 0.735), (0.265, 0.705), (0.340, 0.700), (0.405, 0.725), (0.425, 0.640), (0.420, 0.520),
        (0.415, 0.400), (0.410, 0.290), (0.395, 0.200),
    ]
)  # fmt: skip


@dataclass
class Patient:
    """What stays the same in all images of a patient.

    Args:
        width: of the thorax relative to the average.
        height: of the lungs relative to the average.
        thickness_cm: front to back.
        heart: heart width relative to the average.
        lean: horizontal offset of mediastinum and spine.
        breast_cm: thickness of breasts, 0 for none.
        shape: small shifts of the outline's points, one set per lung.
        rib_tilt: how steeply the ribs fall.
        seed: of vessels and other details.
    """

    width: float
    height: float
    thickness_cm: float
    heart: float
    lean: float
    breast_cm: float
    shape: Points
    rib_tilt: float
    seed: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Patient:
        """Draw a patient."""
        return cls(
            width=generator.uniform(0.88, 1.12),
            height=generator.uniform(0.86, 1.1),
            thickness_cm=generator.uniform(15, 24),
            heart=generator.uniform(0.86, 1.08),
            lean=generator.normal(0, 0.012),
            breast_cm=max(0.0, generator.uniform(-3, 4)),
            shape=generator.normal(0, 0.008, (2, len(_LUNG), 2)),
            rib_tilt=generator.uniform(0.7, 1.3),
            seed=int(generator.integers(2**31)),
        )


@dataclass
class Pose:
    """How the patient stands in one image: breath, magnification, rotation, shift."""

    breath: float = 1.0
    zoom: float = 1.0
    angle_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    heart_zoom: float = 1.0

    @classmethod
    def draw(cls, generator: np.random.Generator, *, ap: bool) -> Pose:
        """Draw a pose; an AP image shows a larger heart and less breath."""
        return cls(
            breath=generator.uniform(0.88, 1.0) if ap else generator.uniform(0.94, 1.06),
            zoom=generator.uniform(1.02, 1.24),
            angle_deg=generator.normal(0, 3),
            shift=(generator.normal(0, 0.025), generator.normal(0, 0.025)),
            heart_zoom=generator.uniform(1.04, 1.14) if ap else 1.0,
        )


@dataclass
class Anatomy:
    """Maps and regions of one image.

    Args:
        side: S in pixels.
        tissue: soft tissue without the lungs' air taken out.
        air: lung air.
        bone: bone.
        vessels: extra tissue of vessels inside the lungs.
        lungs: masks of the lung at the left and at the right of the image.
        heart: mask of the heart's silhouette.
        ribs: centre lines (N, 2) of the ribs' backs in pixels, R1 to R10, then L1 to L10 (patient's sides).
        rib_width: of these lines in pixels.
        wall: distance to the lung border in pixels, inside the lungs.
        taken: where a finding already is.
    """

    side: int
    tissue: Map
    air: Map
    bone: Map
    vessels: Map
    lungs: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    heart: NDArray[np.uint8]
    ribs: tuple[Points, ...]
    rib_width: float
    wall: Map = field(init=False)
    taken: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        """Measure the distance to the lung border."""
        both = self.lungs[0] | self.lungs[1]
        self.taken = np.zeros_like(both)
        self.wall = cv2.distanceTransform(both, cv2.DIST_L2, 5).astype(np.float32)


class Frame:
    """Maps anatomical coordinates to pixels of one image."""

    def __init__(self, side: int, patient: Patient, pose: Pose) -> None:
        self.side = side
        self.patient, self.pose = patient, pose
        angle = np.deg2rad(pose.angle_deg)
        self._turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * pose.zoom
        self._shift = np.array(pose.shift)

    def pixels(self, points: Points) -> Points:
        """Return pixel coordinates of points given as fractions, with the patient's size and the pose applied."""
        scaled = (np.asarray(points, dtype=float) - 0.5) * (self.patient.width, self.patient.height)
        return (scaled @ self._turn.T + 0.5 + self._shift) * self.side

    def length(self, fraction: float) -> float:
        """Return a length in pixels."""
        return fraction * self.side * self.pose.zoom


def build_anatomy(side: int, patient: Patient, pose: Pose, *, heart_scale: float = 1.0) -> Anatomy:
    """Return the maps of one image.

    Args:
        side: of the image in pixels.
        patient: who.
        pose: how.
        heart_scale: 1 = normal size; about 1.35 and more is cardiomegaly.
    """
    frame = Frame(side, patient, pose)
    generator = np.random.default_rng(patient.seed)
    lungs = (_lung(frame, 0), _lung(frame, 1))
    heart = _heart(frame, heart_scale)
    both = lungs[0] | lungs[1]
    depth = np.sqrt(cv2.distanceTransform(both, cv2.DIST_L2, 5) / (0.1 * side)).clip(0, 1)
    air = (0.62 * patient.thickness_cm * depth * pose.breath).astype(np.float32)
    body = _body(frame)
    tissue = patient.thickness_cm * body + _mediastinum(frame) + _abdomen(frame) + _breasts(frame)
    bulge = cv2.GaussianBlur(heart.astype(np.float32), (0, 0), 0.012 * side)
    tissue += 4.2 * bulge
    air *= 1 - 0.85 * bulge
    bone = _ribs(frame, body) + _clavicles(frame) + _spine(frame) + _scapulae(frame)
    ribs = tuple(frame.pixels(_rib(frame, number, mirror)) for mirror in (False, True) for number in range(RIBS))
    vessels = _vessels(frame, both, generator)
    width = frame.length(RIB_WIDTH)
    return Anatomy(side, tissue.astype(np.float32), air, bone, vessels, lungs, heart, ribs, width)


def _blank(frame: Frame) -> Map:
    return np.zeros((frame.side, frame.side), dtype=np.float32)


def fill(frame: Frame, outline: Points) -> NDArray[np.uint8]:
    """Return the mask inside a closed outline (fractions), smoothed between its points."""
    closed = np.vstack([outline[-2:], outline, outline[:2]])
    steps = np.linspace(0, 1, 6, endpoint=False)
    # Catmull-Rom through the points
    smooth = []
    for a, b, c, d in zip(closed[:-3], closed[1:-2], closed[2:-1], closed[3:], strict=True):
        for t in steps:
            smooth.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    mask = np.zeros((frame.side, frame.side), dtype=np.uint8)
    points = np.round(frame.pixels(np.array(smooth)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, shift=4)
    return mask


def stroke(frame: Frame, points: Points, width: float) -> Map:
    """Return a soft line through points (fractions); the width is a fraction of the side."""
    canvas = _blank(frame)
    pixels = np.round(frame.pixels(points) * 16).astype(np.int32)
    cv2.polylines(canvas, [pixels], False, 1.0, max(1, round(frame.length(width))), cv2.LINE_AA, 4)
    return canvas


def _lung(frame: Frame, number: int) -> NDArray[np.uint8]:
    outline = _LUNG + frame.patient.shape[number]
    # breath moves the diaphragm
    outline[7:12, 1] += (frame.pose.breath - 1) * 0.5
    if number == 1:
        outline = outline * (-1, 1) + (1, 0)
        outline[8:12, 1] += 0.02  # the left dome stands lower
    return fill(frame, outline)


def _heart(frame: Frame, scale: float) -> NDArray[np.uint8]:
    size = frame.patient.heart * frame.pose.heart_zoom * scale
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    # grows to the patient's left more than to the right
    centre = np.array([0.535 + 0.045 * (size - 1) + frame.patient.lean, 0.605])
    axes = np.array([0.15 * size, 0.115 * (0.6 + 0.4 * size)])
    ellipse = np.stack([np.cos(angles), np.sin(angles)], 1) * axes
    turn = np.deg2rad(28)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return fill(frame, ellipse @ rotation.T + centre)


def _body(frame: Frame) -> Map:
    outline = np.array(
        [(0.42, -0.3), (0.41, 0.03), (0.30, 0.09), (0.12, 0.13), (0.05, 0.3), (0.08, 0.5), (0.085, 0.8), (0.08, 1.4)]
    )
    mirrored = outline[::-1] * (-1, 1) + (1, 0)
    mask = fill(frame, np.vstack([outline, mirrored]))
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) / (0.16 * frame.side)
    return np.sqrt(inside.clip(0, 1)).astype(np.float32)


def _mediastinum(frame: Frame) -> Map:
    lean = np.array([frame.patient.lean, 0.0])
    outline = np.array([(0.465, 0.0), (0.455, 0.3), (0.44, 0.45), (0.42, 0.6), (0.42, 0.9)])
    mirrored = (outline * (-1, 1) + (1, 0))[::-1]
    band = fill(frame, np.vstack([outline, mirrored]) + lean).astype(np.float32)
    knob = fill(frame, np.array([(0.5, 0.26), (0.56, 0.26), (0.575, 0.3), (0.55, 0.345), (0.5, 0.34)]) + lean)
    return cv2.GaussianBlur(4.0 * band + 1.6 * knob.astype(np.float32), (0, 0), 0.016 * frame.side)


def _abdomen(frame: Frame) -> Map:
    area = fill(
        frame, np.array([(0.0, 0.78), (0.25, 0.74), (0.5, 0.76), (0.75, 0.76), (1.0, 0.8), (1.0, 1.5), (0.0, 1.5)])
    )
    return cv2.GaussianBlur(4.0 * area.astype(np.float32), (0, 0), 0.03 * frame.side)


def _breasts(frame: Frame) -> Map:
    total = _blank(frame)
    if frame.patient.breast_cm <= 0:
        return total
    for x in (0.25, 0.75):
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        outline = np.stack([x + 0.14 * np.cos(angles), 0.66 + 0.1 * np.sin(angles)], 1)
        total += cv2.GaussianBlur(fill(frame, outline).astype(np.float32), (0, 0), 0.02 * frame.side)
    return total * frame.patient.breast_cm


def _rib(frame: Frame, number: int, mirror: bool) -> Points:
    """Return the centre line of a rib's back from the spine outwards (fractions), at the image's left or mirrored."""
    top = 0.135 + 0.068 * number
    reach = 0.16 + 0.1 * np.sin(np.pi * (number + 2) / 13) + 0.02
    t = np.linspace(0, 1, 16)
    x = 0.47 - (reach + 0.1) * np.sin(t * np.pi * 0.55)
    y = top - 0.02 * np.sin(t * np.pi) + 0.11 * frame.patient.rib_tilt * t**2
    return np.stack([1 - x if mirror else x, y], 1)


def _ribs(frame: Frame, body: Map) -> Map:
    total = _blank(frame)
    t = np.linspace(0, 1, 16)
    for mirror in (False, True):
        for number in range(RIBS):
            points = _rib(frame, number, mirror)
            rib = stroke(frame, points, RIB_WIDTH)
            hollow = stroke(frame, points, 0.011)
            total += 0.55 * rib - 0.22 * hollow
            if 1 <= number <= 6:
                end = points[-1]
                away = np.array([-1.0 if mirror else 1.0, 1.0])
                front = end + np.stack([0.2 * t, 0.07 * t + 0.05 * t**2], 1) * away
                total += 0.22 * stroke(frame, front, 0.024)
    return cv2.GaussianBlur(total, (0, 0), 0.0028 * frame.side) * (body > 0)


def _clavicles(frame: Frame) -> Map:
    t = np.linspace(0, 1, 12)
    right = np.stack([0.47 - 0.29 * t, 0.2 - 0.05 * t + 0.03 * np.sin(2 * np.pi * t)], 1)
    total = stroke(frame, right, 0.026) + stroke(frame, right * (-1, 1) + (1, 0), 0.026)
    return cv2.GaussianBlur(0.75 * total, (0, 0), 0.004 * frame.side)


def _spine(frame: Frame) -> Map:
    total = _blank(frame)
    x = 0.5 + frame.patient.lean
    for number in range(16):
        y = 0.02 + 0.064 * number
        body = np.array([(x - 0.032, y), (x + 0.032, y), (x + 0.03, y + 0.05), (x - 0.03, y + 0.05)])
        total += 1.5 * fill(frame, body).astype(np.float32)
    return cv2.GaussianBlur(total, (0, 0), 0.006 * frame.side)


def _scapulae(frame: Frame) -> Map:
    outline = np.array([(0.14, 0.2), (0.22, 0.22), (0.2, 0.32), (0.16, 0.42), (0.12, 0.32)])
    total = fill(frame, outline).astype(np.float32) + fill(frame, outline * (-1, 1) + (1, 0))
    return cv2.GaussianBlur(0.45 * total, (0, 0), 0.005 * frame.side)


def _vessels(frame: Frame, lungs: NDArray[np.uint8], generator: np.random.Generator) -> Map:
    """Return branching vessels that leave the hila and thin out towards the wall."""
    total = _blank(frame)
    for side in (-1, 1):
        hilum = np.array([0.5 + side * 0.085, 0.45])
        total += 1.4 * cv2.GaussianBlur(stroke(frame, hilum + np.array([(0, -0.05), (0, 0.06)]), 0.035), (0, 0), 4)
        for _ in range(11):
            direction = np.array([side, 0.0]) @ _turn(generator.uniform(-1.25, 1.25))
            _branch(frame, total, hilum, direction, 0.011, 3, generator)
    return cv2.GaussianBlur(total, (0, 0), 0.0025 * frame.side) * lungs


def _branch(
    frame: Frame, total: Map, start: Points, direction: Points, width: float, depth: int, generator: np.random.Generator
) -> None:
    length = generator.uniform(0.05, 0.09)
    bend = direction @ _turn(generator.normal(0, 0.25))
    points = np.stack([start, start + direction * length * 0.5, start + (direction + bend) * length * 0.5])
    np.maximum(total, 120 * width * stroke(frame, points, width), out=total)
    if depth:
        for _ in range(2):
            turned = bend @ _turn(generator.normal(0, 0.5))
            _branch(frame, total, points[-1], turned, width * 0.68, depth - 1, generator)


def _turn(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
