"""The typed signature of the model: paths of images in, one row per image out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {"dataset": "string", "label": "string", "finding": "string?", "relation": "string?", "side": "string?"}
FINDING = {
    **_NAMES,
    "probability": "double",
    "calibrated": "boolean",
    "threshold": "double?",
    "present": "boolean?",
}
BOX = {
    **_NAMES,
    "score": "double",
    **dict.fromkeys(("x1", "y1", "x2", "y2"), "double"),
    "width_mm": "double?",
    "height_mm": "double?",
}
MASK = {**_NAMES, "area_px": "long", "area_mm2": "double?"}
"""Fields of what is found, as in the JSON of ``fx-monai predict``; ``?`` = may be missing."""


def prediction_signature() -> Any:
    """Return MLflow's ``ModelSignature``.

    In: a list of paths, or a table whose first column holds them. Out: ``image`` (the path), ``width``, ``height`` in
    pixels (0 when it couldn't be read), ``gate`` (does it pass as a frontal chest radiograph), ``findings``, ``boxes``
    in pixels of the image, ``masks`` as areas, ``note`` and ``warnings``, and ``error``, "" unless this image couldn't
    be predicted. Parameters: ``any_image`` takes what the gate refuses, ``threshold`` is the least score of a box.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    output = [
        *(ColSpec("string", name) for name in ("image", "error", "note", "gate")),
        *(ColSpec("long", name) for name in ("width", "height")),
        ColSpec(Array("string"), "warnings"),
        *(ColSpec(_array(fields), name) for name, fields in {"findings": FINDING, "boxes": BOX, "masks": MASK}.items()),
    ]
    parameters = [ParamSpec("any_image", "boolean", False), ParamSpec("threshold", "double", 0.3)]
    # a column without a name takes lists as well as tables
    return ModelSignature(Schema([ColSpec("string")]), Schema(output), ParamSchema(parameters))


def _array(fields: Mapping[str, str]) -> Any:
    from mlflow.types.schema import Array, Object, Property

    return Array(
        Object([Property(name, kind.rstrip("?"), required=not kind.endswith("?")) for name, kind in fields.items()])
    )
