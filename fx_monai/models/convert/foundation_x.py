"""Foundation X files: Swin, eleven classification heads, six localization decoders, three segmentation heads.

Source: the published key list. Nothing is retrained: the network that comes out gives the numbers of the original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.convert.foundation_x_localization import (
    CATEGORY_NOTE,
    DATASETS,
    localization_rules,
    localization_spec,
)
from fx_monai.models.convert.network import fill_network
from fx_monai.models.convert.published import (
    FOUNDATION_X_CLASSIFICATION,
    FOUNDATION_X_SEGMENTATION,
    MIMIC_NOTE,
    classification_spec,
    segmentation_spec,
)
from fx_monai.models.convert.rules import KeyReport, Rule
from fx_monai.models.convert.swin import CLASSIFIER, backbone_rules, swin_shape
from fx_monai.models.foundation_x import FoundationX

PREFIX = "backbone.0."

_NEVER_RUN = "defined by the authors, never run"
_IDLE = "head without a dataset in the published pretraining"


def foundation_x_network(
    state: Mapping[str, Tensor], *, normalisation: str = "classification", where: str
) -> tuple[FoundationX, KeyReport]:
    """Return the network of a Foundation X file and what became of its keys.

    Args:
        state: the tensors of student or teacher.
        normalisation: see :func:`fx_monai.models.convert.network.fill_network`; the authors scale the images of each
            kind of task in another way, a network has one.
        where: file, for messages.

    Raises:
        CheckpointError: not the published architecture.
    """
    swin = swin_shape(state, PREFIX, where=where)
    config = ModelConfig(
        backbone=BackboneConfig(
            name=swin.name, pretrained="none", drop_path=0.2, stage_norm=True, shift_single_window=True
        ),
        localization=LocalizationConfig(
            size="dino",
            num_queries=state["transformer.tgt_embed.weight"].shape[0],
            denoising_queries=0,
            own_refinement=True,
        ),
        segmentation=SegmentationConfig(
            width=state[f"{PREFIX}segmentation_FPN.smooth_conv.0.weight"].shape[0], decoder="upernet", norm="batch"
        ),
        image_size=swin.image_size,
    )
    specs = [classification_spec(dataset) for dataset in FOUNDATION_X_CLASSIFICATION]
    specs += [localization_spec(dataset) for dataset in DATASETS]
    specs += [segmentation_spec(dataset) for dataset in FOUNDATION_X_SEGMENTATION.values()]
    network = FoundationX(config, specs)
    report = fill_network(
        network,
        state,
        [
            *_classification_rules(),
            *_segmentation_rules(),
            *localization_rules(PREFIX),
            *backbone_rules(PREFIX, "trunk.backbone."),
        ],
        normalisation=normalisation,
        where=where,
        notes=[MIMIC_NOTE, CATEGORY_NOTE],
    )
    return network, report


def _classification_rules() -> list[Rule]:
    start = re.escape(PREFIX)

    def head(match: re.Match[str]) -> str:
        return f"heads.cls_head.{FOUNDATION_X_CLASSIFICATION[int(match[1])]}.{match[2]}"

    heads = len(FOUNDATION_X_CLASSIFICATION)
    return [
        Rule(rf"{start}classification_heads\.({'|'.join(map(str, range(heads)))})\.(weight|bias)", head),
        Rule(rf"{start}head\.(weight|bias)", None, CLASSIFIER),
    ]


def _segmentation_rules() -> list[Rule]:
    start, own = re.escape(PREFIX), "trunk.seg_decoder."
    trained = "|".join(map(str, FOUNDATION_X_SEGMENTATION))

    def lateral(match: re.Match[str]) -> str:
        # the finest map has the width already
        return f"{own}laterals.{int(match[1]) + 1}.{match[2]}"

    def head(match: re.Match[str]) -> str:
        return f"heads.seg_head.{FOUNDATION_X_SEGMENTATION[int(match[1])]}.conv.{match[2]}"

    return [
        Rule(rf"{start}Segnorm\d\.(weight|bias)", None, _NEVER_RUN),
        Rule(rf"{start}segmentation_PPN\.stages\.(\d)\.(\d)\.(\w+)", rf"{own}pools.\1.\2.\3"),
        Rule(rf"{start}segmentation_PPN\.bottleneck\.(\d)\.(\w+)", rf"{own}bottleneck.\1.\2"),
        Rule(rf"{start}segmentation_FPN\.conv1x1\.(\d)\.(\w+)", lateral),
        Rule(rf"{start}segmentation_FPN\.smooth_conv\.\d\.(\w+)", rf"{own}smooth.\1"),
        Rule(rf"{start}segmentation_FPN\.conv_fusion\.(\d)\.(\w+)", rf"{own}fuse.\1.\2"),
        Rule(rf"{start}segmentation_heads\.({trained})\.(weight|bias)", head),
        Rule(rf"{start}segmentation_heads\.\d\.(weight|bias)", None, _IDLE),
    ]
