"""Build the network that a foreign file holds, and fill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fx_monai.models.convert.rules import KeyReport, Rule, apply_rules
from fx_monai.models.foundation_x import FoundationX

# how the authors scale images in [0, 1] before the backbone, by the kind of task
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATION = {
    "classification": ((0.5056,) * 3, (0.252,) * 3),
    "localization": _IMAGENET,
    "segmentation": ((0.0,) * 3, _IMAGENET[1]),
}


def fill_network(
    network: FoundationX,
    state: Mapping[str, Tensor],
    rules: Sequence[Rule],
    *,
    normalisation: str,
    where: str,
    notes: Sequence[str] = (),
) -> KeyReport:
    """Load foreign tensors into a network.

    Args:
        network: of the file's architecture.
        state: the tensors.
        rules: where they go.
        normalisation: kind of task whose input scaling of the authors the network gets, see ``NORMALISATION``.
        where: file, for messages.
        notes: go into the report.

    Raises:
        CheckpointError: what :func:`apply_rules` refuses.
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NORMALISATION[normalisation])
    network.trunk.backbone.mean.copy_(mean)
    network.trunk.backbone.std.copy_(std)
    own = {key: value for key, value in network.state_dict().items() if key != "_extra_state"}
    filled, report = apply_rules(state, rules, own, where=where)
    for name, key in (("mean", "trunk.backbone.mean"), ("std", "trunk.backbone.std")):
        missing = {**report.missing, key: f"{name} of the authors' input for {normalisation}"}
        report = replace(report, missing=missing)
    network.load_state_dict({**network.state_dict(), **filled})
    return replace(report, notes=tuple(notes))
