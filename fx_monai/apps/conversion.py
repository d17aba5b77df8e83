"""Conversion: weights of other projects in, weights of fx_monai and a report of every key out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fx_monai import __version__
from fx_monai.errors import CheckpointError, ConfigError, check_choice
from fx_monai.files import save_atomically, write_text
from fx_monai.models.backbone import Backbone
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig
from fx_monai.models.convert.ark import ark_network
from fx_monai.models.convert.foundation_x import foundation_x_network
from fx_monai.models.convert.network import NORMALISATION
from fx_monai.models.convert.rules import KeyReport, apply_rules
from fx_monai.models.convert.sources import Origin, read_foreign, recognise, unwrap
from fx_monai.models.convert.swin import backbone_rules, swin_shape
from fx_monai.models.weights import write_weights


def convert_file(
    path: Path,
    out: Path,
    *,
    network: str = "",
    datasets: Sequence[str] = (),
    image_size: int | None = None,
    normalisation: str = "classification",
) -> KeyReport:
    """Convert a file of Swin, Ark or Foundation X; write the weights, and the report of every key beside them.

    A Swin gives weights for ``model.backbone.pretrained``, the others a whole network.

    Args:
        path: foreign file.
        out: weights to write; the report is written to the same name with the ending ``.keys.tsv``.
        network: ``student`` or ``teacher``; default: the teacher where the file has one.
        datasets: of Ark's heads, see :func:`fx_monai.models.convert.ark.ark_network`.
        image_size: side of the input of an Ark network in pixels.
        normalisation: see :func:`fx_monai.models.convert.network.fill_network`.

    Raises:
        ConfigError: an option that names nothing.
        CheckpointError: a file that can't be read or isn't of a published architecture.
    """
    _check(network, "--network", ("student", "teacher"))
    _check(normalisation, "--normalisation", NORMALISATION)
    where = str(path)
    content = read_foreign(path)
    state, role = unwrap(content, which=network, where=where)
    origin = recognise(state)
    if origin is Origin.SWIN:
        report = _write_backbone(state, out, where)
    elif origin in (Origin.ARK, Origin.FOUNDATION_X):
        statistics: list[str] = []
        if origin is Origin.ARK:
            built, report = ark_network(state, datasets=datasets, image_size=image_size, where=where)
        else:
            state, statistics = _own_statistics(state, role, content, where)
            built, report = foundation_x_network(state, normalisation=normalisation, where=where)
        report = replace(report, notes=[*statistics, *report.notes])
        note = f"converted from a published {origin.value} {role}"
        write_weights(built, ModelCard(fx_monai_version=__version__, model=role, note=note), out)
    else:
        raise CheckpointError(
            where=where,
            problem="the keys are of no architecture that can be converted",
            expected="weights of Swin, Ark or Foundation X",
            remedy="Give timm's and fx_monai's own weights to model.backbone.pretrained as they are",
        )
    with write_text(out.with_suffix(".keys.tsv")) as file:
        file.write(report.table())
    return report


def _write_backbone(state: Mapping[str, Tensor], out: Path, where: str) -> KeyReport:
    name = swin_shape(state, "", where=where).name
    backbone = Backbone(BackboneConfig(name=name, pretrained="none", stage_norm=True))
    own = {f"trunk.backbone.{key}": value for key, value in backbone.state_dict().items()}
    at_start = "layers.0.downsample.reduction.weight" not in state
    rules = backbone_rules("", "trunk.backbone.", downsample_at_start=at_start)
    filled, report = apply_rules(state, rules, own, where=where)
    save_atomically({**own, **filled}, out)
    return replace(report, notes=[f"for model.backbone.name: {name}, stage_norm: true"])


def _own_statistics(
    state: dict[str, Tensor], role: str, content: Mapping[str, Any], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Give a teacher whose normalisation statistics were never updated those of its student.

    The authors average parameters only, so the statistics of their teacher are the initial ones.
    """
    initial = [
        torch.equal(value, torch.full_like(value, float(key.endswith("var"))))
        for key, value in state.items()
        if key.endswith(("running_mean", "running_var"))
    ]
    if role != "teacher" or not initial or not all(initial):
        return state, []
    try:
        student, _ = unwrap(content, which="student", where=where)
    except ConfigError:
        return state, [
            "the teacher's normalisation statistics are the initial ones, so its segmentation is not calibrated"
        ]
    taken = {key: student[key] for key in state if "running_" in key or key.endswith("num_batches_tracked")}
    return {**state, **taken}, ["the teacher's normalisation statistics were the initial ones; it got its student's"]


def _check(value: str, flag: str, known: Sequence[str] | Mapping[str, Any]) -> None:
    if value:
        check_choice(value, known, where=flag)
