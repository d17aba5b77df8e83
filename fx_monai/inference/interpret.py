"""From activations to results: probabilities get names, boxes and masks get the geometry of the source image."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fx_monai.inference.activations import Activations, calibration_of
from fx_monai.inference.result import Finding, FoundBox, FoundMask, ImageFacts, ModelIdentity, Prediction
from fx_monai.inference.source import Source
from fx_monai.models.foundation_x import FoundationX
from fx_monai.ops.affine import letterbox_matrix, warp
from fx_monai.types import Task


def interpret(
    found: Activations,
    index: int,
    source: Source,
    network: FoundationX,
    identity: ModelIdentity,
    *,
    threshold: float,
    warnings: tuple[str, ...] = (),
    calibrated: bool = True,
) -> Prediction:
    """Return the result of one image of a batch.

    Args:
        found: of the batch.
        index: of the image in the batch.
        source: the image.
        network: that was run.
        identity: its weights.
        threshold: least score of a box.
        warnings: beside those of the source.
        calibrated: the calibration holds for the way the probabilities were computed.
    """
    image, side = source.facts, network.config.image_size
    to_source = cv2.invertAffineTransform(letterbox_matrix(image.width, image.height, side))
    findings = (
        finding
        for task, values in found.findings.items()
        for finding in _findings(network, task, values[index], calibrated)
    )
    boxes = (
        box
        for task, values in found.boxes.items()
        for box in _boxes(network, task, values[index], to_source, image, threshold)
    )
    masks = (
        mask for task, values in found.masks.items() for mask in _masks(network, task, values[index], to_source, image)
    )
    small = (
        (f"{image.width} x {image.height} pixels are fewer than the network reads ({side}): fine detail is missing",)
        if max(image.width, image.height) < side
        else ()
    )
    told = (*source.warnings, *small, *warnings)
    return Prediction(image, identity, tuple(findings), tuple(boxes), tuple(masks), told)


def _findings(network: FoundationX, task: Task, values: Tensor, calibrated: bool) -> Iterator[Finding]:
    fitted = calibration_of(network, task)
    for label, probability, temperature, threshold in zip(
        network.specs[task].classes, values.tolist(), fitted.temperatures, fitted.thresholds, strict=True
    ):
        yield Finding.of(
            task.dataset,
            label,
            probability=probability,
            calibrated=calibrated and temperature is not None,
            threshold=threshold,
        )


def _boxes(
    network: FoundationX,
    task: Task,
    found: dict[str, Tensor],
    to_source: NDArray[np.float64],
    image: ImageFacts,
    threshold: float,
) -> Iterator[FoundBox]:
    scale, (left, top) = to_source[0, 0], to_source[:, 2]
    for box, score, label in zip(*(found[k].tolist() for k in ("boxes_xyxy", "scores", "labels")), strict=True):
        if score < threshold:
            break
        x1, x2 = (float(np.clip(x * scale + left, 0, image.width)) for x in (box[0], box[2]))
        y1, y2 = (float(np.clip(y * scale + top, 0, image.height)) for y in (box[1], box[3]))
        width_mm, height_mm = None, None
        if image.spacing_mm:
            width_mm, height_mm = (x2 - x1) * image.spacing_mm[0], (y2 - y1) * image.spacing_mm[1]
        yield FoundBox.of(
            task.dataset,
            network.specs[task].classes[label],
            score=score,
            x1=x1,
            y1=y1,
            x2=x2,
            y2=y2,
            width_mm=width_mm,
            height_mm=height_mm,
        )


def _masks(
    network: FoundationX, task: Task, values: Tensor, to_source: NDArray[np.float64], image: ImageFacts
) -> Iterator[FoundMask]:
    for label, channel in zip(network.specs[task].classes, values.numpy(), strict=True):
        mask = mask_in(channel, to_source, image.width, image.height)
        mask.setflags(write=False)
        area = int(np.count_nonzero(mask))
        area_mm2 = area * image.spacing_mm[0] * image.spacing_mm[1] if image.spacing_mm else None
        yield FoundMask.of(task.dataset, label, mask=mask, area_px=area, area_mm2=area_mm2)


def mask_in(
    probabilities: NDArray[np.float32], to_source: NDArray[np.float64], width: int, height: int
) -> NDArray[np.bool_]:
    """Return where probabilities are above a half, resampled to another image.

    Only the rectangle where they can be is resampled: most masks are small or empty.

    Args:
        probabilities: (S, S).
        to_source: 2 x 3, to pixels of the other image; scale and shift.
        width: of the other image in pixels.
        height: of the other image in pixels.
    """
    mask = np.zeros((height, width), dtype=bool)
    inside = probabilities > 0.5
    if not inside.any():
        return mask
    # bilinear interpolation reaches one pixel beyond
    spans = [np.flatnonzero(inside.any(axis=axis))[[0, -1]] + (-1, 2) for axis in (0, 1)]
    (left, right), (top, bottom) = (
        np.clip((np.floor(span[0] * to_source[axis, axis] + to_source[axis, 2]),
                 np.ceil(span[1] * to_source[axis, axis] + to_source[axis, 2])), 0, limit).astype(int).tolist()
        for axis, (span, limit) in enumerate(zip(spans, (width, height), strict=True))
    )  # fmt: skip
    to_part = to_source - np.array([[0, 0, left], [0, 0, top]])
    mask[top:bottom, left:right] = warp(probabilities, to_part, (right - left, bottom - top)) > 0.5
    return mask
