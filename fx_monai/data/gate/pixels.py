"""Whether pixels look like an upright frontal chest radiograph with bone bright: a coarse check for files without tags.

The image is reduced to 32 x 32 and its grey values to their ranks, so that exposure and window don't matter. It is
compared (normalised cross-correlation, best of 27 shifts and scales) with a mean chest drawn by a formula: bright
spine, mediastinum and abdomen, dark lungs, dark air beside neck and body. In the place found, the columns of both lungs
are to be darker than the middle in most rows.

Measured with ``python tests/benchmarks/gate.py ../shared/data/cxr``: of 644 real frontal chests none is refused, 21
(3.3 %) are uncertain, one of them upside down indeed. Of the same inverted or on their side none is accepted, upside
down 9. A tibia is refused. Of 200 cloud-like noises 11 are accepted, of 26 photographs none, of 43 other DICOM files 8
(whose tags refuse them). Thresholds were chosen on the 300 thumbnails among the 644.

What it can't tell: a lateral or paediatric chest, another body part that is bright in the middle, a cloud-like pattern.
Tags count more.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fx_monai.data.gate.verdict import Judgement, Verdict
from fx_monai.data.pixels import Pixels, to_uint8

SIDE = 32
# chosen on the 300 thumbnails of ../shared/data/cxr/nih_thumbs64
ACCEPT_SCORE = 0.40
REFUSE_SCORE = 0.20
DARKER_ROWS = 0.6
MAX_ASPECT = 2.0
_SHIFTS, _SCALES = (-3, 0, 3), (0.8, 1.0, 1.2)
_LUNG_ROWS = slice(8, 19)
_RIGHT_LUNG, _MIDDLE, _LEFT_LUNG = slice(7, 12), slice(14, 18), slice(20, 25)
_TURNS = {"upside down": 2, "turned to the left": 3, "turned to the right": 1}

Small = NDArray[np.float32]


def judge_pixels(pixels: Pixels) -> Judgement:
    """Judge by pixels alone.

    Accepted looks like an upright chest; refused looks like none, however turned or inverted; the rest is uncertain,
    among it what looks like a chest once it is turned or inverted (the reason says how).

    Args:
        pixels: (H, W), uint8 or uint16, bone bright.
    """
    height, width = pixels.shape
    if int(pixels.max()) == int(pixels.min()):
        return Judgement(Verdict.REFUSED, ("the image has a single grey value",))
    small = cv2.resize(to_uint8(pixels).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if np.ptp(small) == 0:
        return Judgement(Verdict.REFUSED, ("the image has a single grey value",))
    if max(height / width, width / height) > MAX_ASPECT:
        return Judgement(Verdict.UNCERTAIN, (f"{width} x {height} pixels are an unusual shape for a chest",))
    ranks = to_ranks(small)
    score, rows = chest_score(ranks)
    others = {"inverted (bone dark)": 1 - ranks} | {how: np.rot90(ranks, turns) for how, turns in _TURNS.items()}
    scores = {how: chest_score(np.ascontiguousarray(other)) for how, other in others.items()}
    how = max(scores, key=lambda name: scores[name][0])
    if scores[how][0] >= max(ACCEPT_SCORE, score) and scores[how][1] >= DARKER_ROWS:
        return Judgement(Verdict.UNCERTAIN, (f"the image looks {how}",))
    if score >= ACCEPT_SCORE and rows >= DARKER_ROWS:
        return Judgement(Verdict.ACCEPTED)
    if score < REFUSE_SCORE:
        return Judgement(Verdict.REFUSED, ("the pixels don't look like a frontal chest radiograph",))
    return Judgement(Verdict.UNCERTAIN, ("the pixels look only remotely like a frontal chest radiograph",))


def to_ranks(small: Small) -> Small:
    """Return the share of smaller values (equal ones by half) at every pixel."""
    ordered = np.sort(small, axis=None)
    below, up_to = (np.searchsorted(ordered, small, side) for side in ("left", "right"))
    return ((below + up_to) / 2 / small.size).astype(np.float32)


def chest_score(ranks: Small) -> tuple[float, float]:
    """Return the best correlation with the mean chest (-1 to 1), and the share of rows with dark-bright-dark there.

    Args:
        ranks: (32, 32).
    """
    columns, rows = _moves()
    moved = cv2.remap(ranks, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    candidates = _normalised(moved.reshape(-1, SIDE, SIDE))
    correlations = (candidates * mean_chest()).mean(axis=(1, 2))
    best = candidates[int(correlations.argmax()), _LUNG_ROWS]
    middle = best[:, _MIDDLE].mean(axis=1)
    darker = [middle > best[:, columns].mean(axis=1) for columns in (_RIGHT_LUNG, _LEFT_LUNG)]
    return float(correlations.max()), float(np.mean(darker[0] & darker[1]))


@cache
def mean_chest() -> Small:
    """Return the mean chest, (32, 32), zero mean and unit variance; x and y below run from 0 to 1."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    aside = np.abs(x - 0.5)
    chest = 0.45 * np.exp(-((aside / (0.07 + 0.12 * y**2)) ** 2))  # spine, mediastinum, heart
    chest += 0.35 * _step(14 * (y - 0.74))  # abdomen
    chest -= 0.30 * np.exp(-(((aside - 0.2) / 0.12) ** 2 + ((y - 0.42) / 0.24) ** 2))  # lungs
    shoulder = 0.08 + 0.2 * np.maximum(0, aside - 0.15) / 0.35
    chest -= 0.45 * _step(-40 * (y - shoulder)) * (aside > 0.13)  # air beside the neck
    chest -= 0.25 * _step(40 * (aside - 0.46))  # air beside the body
    return _normalised(to_ranks(chest.astype(np.float32)))


@cache
def _moves() -> tuple[Small, Small]:
    """Return where each pixel of each candidate comes from: columns and rows, (27 * 32, 32) each."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    moves = [(scale, dx, dy) for scale in _SCALES for dx in _SHIFTS for dy in _SHIFTS]
    rest = {scale: SIDE / 2 * (1 - 1 / scale) for scale in _SCALES}
    columns = [(x - rest[scale] - dx) * scale for scale, dx, _ in moves]
    rows = [(y - rest[scale] - dy) * scale for scale, _, dy in moves]
    return np.concatenate(columns).astype(np.float32), np.concatenate(rows).astype(np.float32)


def _normalised(values: Small) -> Small:
    """Return zero mean and unit variance over the last two axes."""
    centred = values - values.mean(axis=(-2, -1), keepdims=True)
    return (centred / (centred.std(axis=(-2, -1), keepdims=True) + 1e-6)).astype(np.float32)


def _step(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))
