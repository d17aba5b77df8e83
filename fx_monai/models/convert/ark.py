"""Ark and Ark+ files: Swin, projector, one classification head per dataset.

Source: Ark (Ma et al., MICCAI 2023), Ark+ (Nature 2025); the teacher is what the authors publish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from fx_monai.errors import CheckpointError, ConfigError, did_you_mean
from fx_monai.models.config import BackboneConfig, ModelConfig, ProjectorConfig
from fx_monai.models.convert.network import fill_network
from fx_monai.models.convert.published import ARK, FOUNDATION_X_CLASSIFICATION, MIMIC_NOTE, classification_spec
from fx_monai.models.convert.rules import KeyReport, Rule
from fx_monai.models.convert.swin import backbone_rules, swin_shape
from fx_monai.models.foundation_x import FoundationX


def ark_network(
    state: Mapping[str, Tensor], *, datasets: Sequence[str] = (), image_size: int | None = None, where: str
) -> tuple[FoundationX, KeyReport]:
    """Return the network of an Ark file and what became of its keys.

    Args:
        state: the tensors of student or teacher.
        datasets: of the heads in their order; default: the authors' six, or the five without MIMIC-CXR.
        image_size: side of the input in pixels; default: the one the window is made for.
        where: file, for messages.

    Raises:
        CheckpointError: not the published architecture, or heads of other sizes than the datasets' classes.
        ConfigError: unknown datasets.
    """
    swin = swin_shape(state, "", where=where)
    outputs = [state[f"omni_heads.{i}.weight"].shape[0] for i in range(len(_heads(state)))]
    specs = [classification_spec(dataset) for dataset in _datasets(datasets, len(outputs), where)]
    expected = [len(spec.classes) for spec in specs]
    if not outputs or outputs != expected:
        raise CheckpointError(
            where=where,
            problem=f"the heads have {outputs} outputs",
            expected=f"{expected}, the classes of {', '.join(spec.task.dataset for spec in specs)}",
            remedy="Name the datasets of the heads in their order with --datasets",
        )
    linear = [key for key in state if re.fullmatch(r"projector(\.\d+)?\.weight", key)]
    projector = ProjectorConfig(state[linear[-1]].shape[0], len(linear)) if linear else None
    config = ModelConfig(
        backbone=BackboneConfig(name=swin.name, pretrained="none", drop_path=0.2, stage_norm=True),
        projector=projector,
        image_size=image_size or swin.image_size,
    )
    network = FoundationX(config, specs)

    def head(match: re.Match[str]) -> str:
        return f"heads.cls_head.{specs[int(match[1])].task.dataset}.{match[2]}"

    rules = [
        Rule(r"omni_heads\.(\d+)\.(weight|bias)", head),
        Rule(r"projector\.(weight|bias)", r"trunk.projector.0.\1"),
        Rule(r"projector\.(\d+\.(?:weight|bias))", r"trunk.projector.\1"),
        *backbone_rules("", "trunk.backbone."),
    ]
    notes = [MIMIC_NOTE] if any(spec.task.dataset == "mimic_cxr" for spec in specs) else []
    return network, fill_network(network, state, rules, normalisation="classification", where=where, notes=notes)


def _heads(state: Mapping[str, Tensor]) -> list[str]:
    return [key for key in state if re.fullmatch(r"omni_heads\.\d+\.weight", key)]


def _datasets(named: Sequence[str], heads: int, where: str) -> Sequence[str]:
    for name in named:
        if name not in FOUNDATION_X_CLASSIFICATION:
            raise ConfigError(
                where=f"{where}, datasets",
                problem=f"the classes of '{name}' are not known here. "
                f"{did_you_mean(name, FOUNDATION_X_CLASSIFICATION)}".rstrip(),
                expected=f"some of {', '.join(FOUNDATION_X_CLASSIFICATION)}",
                remedy="Correct the names",
            )
    return named or (ARK if heads == len(ARK) else ARK[-heads:])
