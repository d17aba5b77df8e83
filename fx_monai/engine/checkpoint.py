"""Save and resume: one file holds everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fx_monai.engine.processes import gather, is_writer, rank
from fx_monai.engine.rng import restore_rng, rng_state
from fx_monai.errors import CheckpointError
from fx_monai.files import load_weights_only, previous_file, save_atomically

FORMAT = "fx_monai checkpoint 2"
_OPTIONAL = ("tracker",)
"""A run may go on with another way of tracking than it began with."""
_REMEDY = "Resume with the recipe and data the run was started with, or start in a new output folder"


class RunState:
    """What a checkpoint holds, gathered from the objects of a run.

    Args:
        modules: objects with ``state_dict`` and ``load_state_dict`` by name: student, teacher, optimiser, ...
        identity: plain values that must be equal for a resume to make sense, such as the resolved recipe.
        may_change: dotted keys of the identity that may differ all the same, such as the number of workers.
        keep_last: checkpoints that are kept, the newest and ``keep_last - 1`` before it.
    """

    def __init__(
        self,
        modules: Mapping[str, Any],
        identity: Mapping[str, Any],
        *,
        may_change: Collection[str] = (),
        keep_last: int = 2,
    ) -> None:
        self.modules = modules
        self.identity = dict(identity)
        self.may_change = may_change
        self.keep_last = keep_last

    def save(self, path: Path, *, step: int) -> None:
        """Write the checkpoint of a run that has done ``step`` steps; of several processes, the first writes."""
        states = gather(rng_state())
        if not is_writer():
            return
        state = {
            "format": FORMAT,
            "step": step,
            "identity": self.identity,
            "rng": states,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        save_atomically(state, path, previous=self.keep_last - 1)

    def restore(self, path: Path) -> int:
        """Load a checkpoint into the objects and return its step.

        Raises:
            CheckpointError: not a checkpoint, made by another recipe, or not fitting the network; names the previous
                checkpoint when that one is whole.
        """
        state = read_checkpoint(path)
        changed = [key for key in differing_keys(state["identity"], self.identity) if key not in self.may_change]
        if changed:
            raise CheckpointError(
                where=str(path),
                problem=f"the checkpoint was made with another {', '.join(changed[:5])}",
                expected="the same recipe, data and classes as when the run was started",
                remedy=_REMEDY,
            )
        try:
            for name, module in self.modules.items():
                if name in state["modules"] or name not in _OPTIONAL:
                    module.load_state_dict(state["modules"][name])
            if rank() < len(state["rng"]):
                restore_rng(state["rng"][rank()])
            return int(state["step"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                where=str(path),
                problem=f"the checkpoint does not fit ({' '.join(str(error).split())[:300]})",
                expected="the network, optimiser and teacher of this recipe",
                remedy=_REMEDY,
            ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint.

    Raises:
        CheckpointError: missing, damaged or something else; names the previous checkpoint when that one is whole.
    """
    try:
        return _read(path)
    except CheckpointError as error:
        number, found = 1, None
        while found is None and previous_file(path, number).is_file():
            found, number = _try(previous_file(path, number)), number + 1
        if found is None:
            raise
        raise CheckpointError(
            where=error.where,
            problem=error.problem,
            expected=error.expected,
            remedy=f"Take the previous one: rename {found[0].name} (step {found[1]}) to {path.name} and resume again",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    state = load_weights_only(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            where=str(path), problem="not a training checkpoint", expected=f"the format '{FORMAT}'", remedy=_REMEDY
        )
    return state


def _try(path: Path) -> tuple[Path, int] | None:
    try:
        return path, int(_read(path)["step"])
    except CheckpointError:
        return None


def differing_keys(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the dotted keys whose values differ between two nested mappings of plain values."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [path or "identity"]
    keys = list(dict.fromkeys([*new, *old]))
    return [found for key in keys for found in differing_keys(old.get(key), new.get(key), f"{path}.{key}".strip("."))]
