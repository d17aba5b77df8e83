"""Start a network from the weights of another that had fewer or other tasks: what both have is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fx_monai.errors import CheckpointError
from fx_monai.files import load_weights_only, named_file
from fx_monai.models.card import unpack
from fx_monai.models.config import ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import TaskSpec

_CARD_KEY = "_extra_state"


def start_from(network: FoundationX, path: Path) -> list[str]:
    """Load trained weights into every module group that they hold; groups of new tasks stay as they are.

    The card takes over the note of the weights.

    Args:
        network: may have more tasks than the weights, or fewer; tasks of the same name must have the same classes.
        path: ``model.pt``, or a training checkpoint, whose student is taken.

    Returns:
        Sentences for the user: which groups are fresh, which tasks of the weights are left out.

    Raises:
        CheckpointError: no such file, no model card, other classes, or a network of other sizes.
    """
    state = read_weights(path)
    _, specs, _, card = unpack(state.pop(_CARD_KEY, None), where=str(path))
    known = {spec.task: spec for spec in specs}
    for task, spec in network.specs.items():
        if known.get(task, spec) != spec:
            raise CheckpointError(
                where=f"{path}, task {task}",
                problem=f"the weights are for {', '.join(known[task].classes)}",
                expected=", ".join(spec.classes),
                remedy="Choose these classes in the recipe (datasets.*.classes), or give the dataset another name",
            )
    own = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    own.pop(_CARD_KEY, None)
    prefixes = _prefixes(network)
    fresh = [group for group, prefix in prefixes.items() if not any(name.startswith(prefix) for name in state)]
    wanted = {n: v for n, v in own.items() if not n.startswith(tuple(prefixes[group] for group in fresh))}
    for name, value in wanted.items():
        if name not in state or state[name].shape != value.shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise CheckpointError(
                where=f"{path}, {name}",
                problem=f"the weights have {found}",
                expected=f"{tuple(value.shape)}, as the recipe's network",
                remedy="Take the model section of the recipe that the weights were trained with",
            )
    for name, value in wanted.items():
        value.copy_(state[name])
    network.trunk.backbone.weights = named_file(path)
    network.card = replace(network.card, note=card.note)
    notes = [f"fresh: {', '.join(fresh)}"] if fresh else []
    dropped = [str(task) for task in known if task not in network.specs]
    return notes + ([f"left out, not in the recipe: {', '.join(dropped)}"] if dropped else [])


def read_weights(path: Path) -> dict[str, Any]:
    """Return the ``state_dict`` of a file of weights, or of a checkpoint's student.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    state = load_weights_only(path)
    modules = state.get("modules") if isinstance(state, Mapping) else None
    student = modules.get("student") if isinstance(modules, Mapping) else state
    return dict(student) if isinstance(student, Mapping) else {}


def read_card(state: Mapping[str, Any], path: Path) -> tuple[ModelConfig, tuple[TaskSpec, ...]] | None:
    """Return the architecture and the tasks of weights; None for weights of a backbone, which have no card.

    Raises:
        CheckpointError: a card that this version can't read.
    """
    if _CARD_KEY not in state:
        return None
    config, specs, _, _ = unpack(state[_CARD_KEY], where=str(path))
    return config, specs


def _prefixes(network: FoundationX) -> dict[str, str]:
    """Return how the names of a module group's tensors begin."""
    paths = {id(module): path for path, module in network.named_modules()}
    return {group: f"{paths[id(module)]}." for group, module in network.module_groups().items()}
