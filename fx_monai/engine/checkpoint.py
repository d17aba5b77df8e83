"""Save and resume: one file holds everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fx_monai.errors import CheckpointError
from fx_monai.files import load_weights_only, save_atomically

FORMAT = "fx_monai checkpoint 1"


class RunState:
    """What a checkpoint holds, gathered from the objects of a run.

    Args:
        modules: objects with ``state_dict`` and ``load_state_dict`` by name: student, teacher, optimiser, ...
        identity: plain values that must be equal for a resume to make sense, such as the resolved recipe.
    """

    def __init__(self, modules: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        self.modules = modules
        self.identity = dict(identity)

    def save(self, path: Path, *, step: int) -> None:
        """Write the checkpoint of a run that has done ``step`` steps."""
        state = {
            "format": FORMAT,
            "step": step,
            "identity": self.identity,
            "rng": torch.get_rng_state(),
            "gpu_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        save_atomically(state, path)

    def restore(self, path: Path) -> int:
        """Load a checkpoint into the objects and return its step.

        Raises:
            CheckpointError: not a checkpoint, made by another recipe, or not fitting the network.
        """
        state = load_weights_only(path)
        remedy = "Resume with the recipe and data the run was started with, or start in a new output folder"
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise CheckpointError(
                where=str(path), problem="not a training checkpoint", expected=f"the format '{FORMAT}'", remedy=remedy
            )
        changed = _differences(state.get("identity", {}), self.identity)
        if changed:
            raise CheckpointError(
                where=str(path),
                problem=f"the checkpoint was made with another {', '.join(changed[:5])}",
                expected="the same recipe, data and classes as when the run was started",
                remedy=remedy,
            )
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            torch.set_rng_state(state["rng"])
            if state["gpu_rng"] and torch.cuda.is_available():
                torch.cuda.set_rng_state_all(state["gpu_rng"])
            return int(state["step"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                where=str(path),
                problem=f"the checkpoint does not fit ({' '.join(str(error).split())[:300]})",
                expected="the network, optimiser and teacher of this recipe",
                remedy=remedy,
            ) from error


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the dotted keys whose values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [path or "identity"]
    keys = list(dict.fromkeys([*new, *old]))
    return [found for key in keys for found in _differences(old.get(key), new.get(key), f"{path}.{key}".strip("."))]
