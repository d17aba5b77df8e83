"""Pictures of predictions: boxes, mask outlines and a panel of findings on a radiograph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito (2008), distinguishable with colour vision deficiency
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
TRUTH = (255, 255, 255)
MIN_SIDE, MAX_SIDE = 512, 1024
_PANEL = 250
_LISTED = 14

Box = tuple[float, float, float, float]


def draw_overlay(
    image: NDArray[np.uint8],
    *,
    boxes: Sequence[tuple[str, Box]] = (),
    masks: Sequence[tuple[str, NDArray[Any]]] = (),
    truth_boxes: Sequence[Box] = (),
    truth_masks: Sequence[NDArray[Any]] = (),
    findings: Sequence[tuple[str, float]] = (),
    note: str = "",
) -> Image.Image:
    """Draw predictions (coloured) and, when known, the truth (white) on a radiograph, with a panel of findings.

    Args:
        image: (H, W) uint8.
        boxes: (caption, (x1, y1, x2, y2) in pixels of the image).
        masks: (label, (H, W), non-zero = inside).
        truth_boxes: drawn in white.
        truth_masks: outlines drawn in white.
        findings: (name, probability); the most probable ones are listed.
        note: lines that stand under the picture.
    """
    height, width = image.shape
    scale = min(MAX_SIDE, max(MIN_SIDE, max(height, width))) / max(height, width)
    size = (round(width * scale), round(height * scale))
    canvas = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    colours = _colours([label for label, _ in masks] + [caption.rpartition(" ")[0] for caption, _ in boxes])
    for label, mask in masks:
        _paint(canvas, mask, size, colours[label], fill=0.25)
    for mask in truth_masks:
        _paint(canvas, mask, size, TRUTH, fill=0.0)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for box in truth_boxes:
        draw.rectangle([value * scale for value in box], outline=TRUTH, width=2)
    for caption, box in boxes:
        colour = colours[caption.rpartition(" ")[0]]
        corners = [value * scale for value in box]
        draw.rectangle(corners, outline=colour, width=3)
        _caption(draw, corners[0], corners[1], caption, colour, picture.width)
    legend = [(label, colours[label]) for label in dict.fromkeys(label for label, _ in masks)]
    return _with_panel(picture, legend, findings, note, truth=bool(truth_boxes) or bool(truth_masks))


def _colours(labels: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(dict.fromkeys(labels))}


def _paint(
    canvas: NDArray[np.uint8], mask: NDArray[Any], size: tuple[int, int], colour: tuple[int, int, int], *, fill: float
) -> None:
    inside = cv2.resize((mask != 0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    region = inside.astype(bool)
    canvas[region] = (canvas[region] * (1 - fill) + np.array(colour) * fill).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, 2)


@cache
def _font(size: int) -> Any:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _caption(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: tuple[int, int, int], limit: int
) -> None:
    font = _font(13)
    length = draw.textlength(text, font)
    x, y = min(x, limit - length - 6), max(0.0, y - 18)
    draw.rectangle((x, y, x + length + 6, y + 17), fill=(0, 0, 0))
    draw.text((x + 3, y + 1), text, colour, font)


def _with_panel(
    picture: Image.Image,
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    findings: Sequence[tuple[str, float]],
    note: str,
    *,
    truth: bool,
) -> Image.Image:
    notes = note.split("\n")
    page = Image.new("RGB", (picture.width + _PANEL, picture.height + 8 + 18 * len(notes)), (24, 24, 24))
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    x, y = picture.width + 12, 10
    for label, colour in [*legend, *([("truth", TRUTH)] if truth else [])]:
        draw.rectangle((x, y + 3, x + 12, y + 15), outline=colour, width=3)
        draw.text((x + 20, y), label, (230, 230, 230), _font(14))
        y += 22
    y += 8
    for name, probability in sorted(findings, key=lambda item: -item[1])[:_LISTED]:
        dataset, _, label = name.rpartition(": ")
        draw.text((x, y), f"{probability:.2f}  {label[:26]}", (230, 230, 230), _font(14))
        draw.text((x + 38, y + 16), dataset[:30], (140, 140, 140), _font(10))
        draw.rectangle((x, y + 29, x + round((_PANEL - 24) * probability), y + 31), fill=COLOURS[1])
        y += 36
    for number, line in enumerate(notes):
        draw.text((8, picture.height + 5 + 18 * number), line, (230, 159, 0), _font(13))
    return page
