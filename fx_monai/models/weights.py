"""Weights files: write them with their card, build the network they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fx_monai.errors import CheckpointError
from fx_monai.files import load_weights_only, save_atomically
from fx_monai.models.card import ModelCard, unpack
from fx_monai.models.foundation_x import FoundationX

_CARD_KEY = "_extra_state"


def write_weights(network: FoundationX, card: ModelCard, path: Path) -> None:
    """Write the network's ``state_dict`` with its card, whole or not at all."""
    network.card = card
    save_atomically(network.state_dict(), path)


def load_network(path: str | Path) -> FoundationX:
    """Build the network that the weights belong to and load them strictly; evaluation mode, on the CPU.

    Raises:
        CheckpointError: no such file, not weights of fx_monai, or damaged.
    """
    state = load_weights_only(Path(path))
    if not isinstance(state, dict) or _CARD_KEY not in state:
        raise CheckpointError(
            where=str(path),
            problem="the file holds no model card",
            expected="model.pt of a run (not checkpoint.pt)",
            remedy="Give the model.pt in the run's folder",
        )
    config, specs, primary, _ = unpack(state[_CARD_KEY], where=str(path))
    network = FoundationX(replace(config, backbone=replace(config.backbone, pretrained="none")), specs, primary=primary)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            where=str(path),
            problem=f"the weights do not fit their own card ({' '.join(str(error).split())[:300]})",
            expected="an unchanged file written by this version of fx_monai",
            remedy="Train again, or use the version that wrote them",
        ) from error
    return network.eval()
