"""A result as plain values, for JSON and for services."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fx_monai.inference.result import Definition, Finding, FoundBox, FoundMask, ModelIdentity, Prediction

SCHEMA_VERSION = 1


def to_plain(
    prediction: Prediction, *, mask_files: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return the result as dicts, lists, numbers and strings.

    Args:
        prediction: the result.
        mask_files: file names by (dataset, label), as far as masks were written.
    """
    files = mask_files or {}
    image = prediction.image
    return {
        "schema_version": SCHEMA_VERSION,
        "note": prediction.note,
        "warnings": list(prediction.warnings),
        "image": {
            "width": image.width,
            "height": image.height,
            "spacing_mm": list(image.spacing_mm) if image.spacing_mm else None,
            "format": image.format,
            "sha256": image.sha256,
        },
        "gate": {"verdict": image.verdict.value, "reasons": list(image.reasons)},
        "model": model_to_plain(prediction.model),
        "findings": [finding_to_plain(finding) for finding in prediction.findings],
        "boxes": [_box(box) for box in prediction.boxes],
        "masks": [_mask(mask, files.get((mask.dataset, mask.label), ())) for mask in prediction.masks],
    }


def model_to_plain(model: ModelIdentity) -> dict[str, Any]:
    """Return which weights were used, as plain values."""
    card = {key: value for key, value in vars(model.card).items() if key not in ("calibration", "fx_monai_version")}
    return {
        "name": model.name,
        "version": model.version,
        "weights_sha256": model.weights_sha256 or None,
        "fx_monai": model.fx_monai_version,
        "trained_with_fx_monai": model.card.fx_monai_version,
        **card,
    }


def _definition(item: Definition) -> dict[str, Any]:
    return {field.name: getattr(item, field.name) for field in dataclasses.fields(Definition)}


def finding_to_plain(finding: Finding) -> dict[str, Any]:
    """Return one probability with its definition, as plain values."""
    threshold = finding.threshold
    return {
        **_definition(finding),
        "probability": round(finding.probability, 4),
        "calibrated": finding.calibrated,
        "threshold": None if threshold is None else round(threshold, 4),
        "present": finding.present,
    }


def _box(box: FoundBox) -> dict[str, Any]:
    corners = {key: round(getattr(box, key), 2) for key in ("x1", "y1", "x2", "y2")}
    sizes = {key: getattr(box, key) for key in ("width_mm", "height_mm")}
    rounded = {key: None if value is None else round(value, 2) for key, value in sizes.items()}
    return {**_definition(box), "score": round(box.score, 4), **corners, **rounded}


def _mask(mask: FoundMask, files: Sequence[str]) -> dict[str, Any]:
    area_mm2 = None if mask.area_mm2 is None else round(mask.area_mm2, 1)
    return {**_definition(mask), "area_px": mask.area_px, "area_mm2": area_mm2, "files": list(files)}
