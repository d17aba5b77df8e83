"""Weights and who they are: a bundle's folder, a run's folder or a ``model.pt``."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fx_monai.errors import CheckpointError
from fx_monai.files import file_sha256
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.result import ModelIdentity
from fx_monai.models.card import ModelCard
from fx_monai.models.weights import load_network

_IN_FOLDER = ("models/model.pt", "model.pt")


def load_predictor(
    path: Path, *, device: torch.device | str = "cpu", threshold: float = 0.3, flips: bool = False
) -> Predictor:
    """Load a network with its identity.

    Args:
        path: folder of a bundle (with ``models/model.pt``) or of a run (with ``model.pt``), or the file itself.
        device: where to run.
        threshold: least score of a box.
        flips: predict the mirror image too, see :mod:`fx_monai.inference.test_time`.

    Raises:
        CheckpointError: no weights there, or not weights of fx_monai.
    """
    weights = find_weights(path)
    network = load_network(weights)
    identity = identity_of(weights, network.card)
    return Predictor(network, identity=identity, device=device, threshold=threshold, flips=flips)


def identity_of(weights: Path, card: ModelCard) -> ModelIdentity:
    """Return who weights are: name and version of the bundle that they lie in, else what their card tells."""
    metadata = _metadata(weights)
    name = str(metadata.get("name") or card.recipe or "fx_monai")
    return ModelIdentity(name, str(metadata.get("version") or card.fx_monai_version), file_sha256(weights), card)


def find_weights(path: Path) -> Path:
    """Return the weights file of a folder; a file is returned as it is.

    Raises:
        CheckpointError: the folder has none.
    """
    if not path.is_dir():
        return path
    for name in _IN_FOLDER:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        where=str(path),
        problem="the folder holds no weights",
        expected=" or ".join(_IN_FOLDER),
        remedy="Train with `fx-monai train demo` or the bundle's run 'training', or give the path of existing weights",
    )


def _metadata(weights: Path) -> dict[str, object]:
    """Return the metadata of the bundle that the weights lie in; nothing outside of bundles."""
    folder = weights.resolve().parent
    if folder.name != "models":
        return {}
    file = folder.parent / "configs" / "metadata.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
