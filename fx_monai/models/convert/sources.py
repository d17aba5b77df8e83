"""Recognise whose weights a file holds, and take the tensors out of their wrappings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.files import load_weights_only

# in the order in which they are looked for
_WRAPPERS = {
    "student": ("student", "model", "student_model", "state_dict"),
    "teacher": ("teacher", "teacher_model"),
}


class Origin(StrEnum):
    """Whose weights."""

    OWN = "fx_monai"
    FOUNDATION_X = "Foundation X"
    ARK = "Ark"
    SWIN = "Swin"
    OTHER = "other"


def read_foreign(path: Path) -> Mapping[str, Any]:
    """Read a file of another project; plain settings (argparse) and numbers of NumPy may lie beside the tensors.

    Raises:
        CheckpointError: missing, damaged, holding code or no mapping.
    """
    scalar = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    # older NumPy named the same function otherwise
    allowed = [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *types]
    content = load_weights_only(path, allowed=allowed)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            where=str(path),
            problem=f"the file holds a {type(content).__name__}",
            expected="a mapping of names to tensors",
            remedy="Save the state_dict of the network",
        )
    return content


def unwrap(content: Mapping[str, Any], *, which: str = "", where: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of one network without the wrappers' prefixes, and which network it is.

    Args:
        content: of the file.
        which: ``student`` or ``teacher``; "" = the teacher where there is one, as its authors publish it.
        where: file, for messages.

    Returns:
        The tensors, and ``student`` or ``teacher`` (``student`` for a file without wrappers).

    Raises:
        ConfigError: the file has no such network.
        CheckpointError: the file holds no tensors.
    """
    found = {role: key for role, keys in _WRAPPERS.items() for key in reversed(keys) if _is_state(content.get(key))}
    if found:
        role = which or ("teacher" if "teacher" in found else "student")
        if role not in found:
            raise ConfigError(
                where=where,
                problem=f"the file has no {role}",
                expected=" or ".join(sorted(found)),
                remedy="Choose the network that the file has",
            )
        state = content[found[role]]
    else:
        role, state = which or "student", content
    tensors = {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            where=where,
            problem="the file holds no tensors",
            expected="weights of Swin, Ark, Foundation X, timm or fx_monai",
            remedy="Give another file",
        )
    return tensors, role


def recognise(state: Mapping[str, Tensor]) -> Origin:
    """Tell whose weights these are, by their keys."""
    if "trunk.backbone.mean" in state:
        return Origin.OWN
    if "backbone.0.patch_embed.proj.weight" in state:
        return Origin.FOUNDATION_X
    if "omni_heads.0.weight" in state or "projector.weight" in state or "projector.0.weight" in state:
        return Origin.ARK
    if "patch_embed.proj.weight" in state and "layers.0.blocks.0.attn.relative_position_bias_table" in state:
        return Origin.SWIN
    return Origin.OTHER


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())
