"""The registered model: ``mlflow.pyfunc.load_model("models:/fx_monai/1").predict(["image.png"])``.

MLflow stores the name of this module and the weights, no code; see :mod:`fx_monai.tracking.signature` for what goes in
and comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fx_monai.apps.prediction import load_model
from fx_monai.errors import FxError
from fx_monai.inference.plain import to_plain
from fx_monai.tracking.signature import BOX, FINDING, MASK

_FOUND = {"findings": FINDING, "boxes": BOX, "masks": MASK}


class RegisteredModel:
    """Predicts image files; MLflow calls :meth:`predict`.

    Args:
        weights: model.pt of a run.
    """

    def __init__(self, weights: Path) -> None:
        self.predictor = load_model(weights)

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per image, in the order of the input; an image that can't be predicted has an ``error``.

        Args:
            model_input: paths in the first column.
            params: ``any_image`` and ``threshold``.
        """
        options = dict(params or {})
        self.predictor.threshold = float(options.get("threshold", self.predictor.threshold))
        any_image = bool(options.get("any_image", False))
        return pd.DataFrame([self._row(str(path), any_image) for path in model_input.iloc[:, 0]])

    def _row(self, path: str, any_image: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"image": path, "error": "", "note": self.predictor.identity.note, "gate": ""}
        row |= {"width": 0, "height": 0, "warnings": [], **{name: [] for name in _FOUND}}
        try:
            content = to_plain(self.predictor.predict(path, any_image=any_image))
        except FxError as error:
            return {**row, "error": str(error)}
        row |= {"gate": content["gate"]["verdict"], "warnings": content["warnings"]}
        row |= {side: content["image"][side] for side in ("width", "height")}
        for name, keys in _FOUND.items():
            row[name] = [{key: item[key] for key in keys} for item in content[name]]
        return row


def _load_pyfunc(path: str) -> RegisteredModel:
    """Return the model of a file; the name is MLflow's."""
    return RegisteredModel(Path(path))
