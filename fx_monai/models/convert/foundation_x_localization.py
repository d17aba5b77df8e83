"""The localization branch of Foundation X files: shared encoder, six decoders.

Source: the published key list. Six names of one tensor (one per decoder layer) go to one place. Every decoder has
fourteen class outputs, whatever its dataset has; the output of a category id is kept under the name of its class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fx_monai.models.convert.published import CHESTX_DET
from fx_monai.models.convert.rules import Rule
from fx_monai.types import Kind, Task, TaskSpec

OUTPUTS = 14

CATEGORY_NOTE = (
    "localization heads have 14 outputs; those without a class of their dataset are called 'category N', and the class "
    "of a dataset with one is assumed to be category 1"
)

_CLASSES = {
    "tbx11k": ("Tuberculosis",),
    "node21": ("Nodule",),
    "candid_ptx": ("Pneumothorax",),
    "rsna_pneumonia": ("Lung Opacity",),
    "chestx_det": CHESTX_DET,
    "siim_acr": ("Pneumothorax",),
}
DATASETS = tuple(_CLASSES)
"""Dataset of every decoder."""

_NO_EFFECT = "no output depends on it: the refined boxes have no class"
_TRAINING_ONLY = "content of the denoising queries, which only training has"

# of a deformable attention, and of the layers around it
_ATTENTION = {
    "sampling_offsets": "offsets",
    "attention_weights": "weights",
    "value_proj": "value",
    "output_proj": "out",
}
_ENCODER_NORMS = {"norm1": 0, "norm2": 1}
_DECODER_NORMS = {"norm2": 0, "norm1": 1, "norm3": 2}
_FEEDFORWARD = {"linear1": 0, "linear2": 2}


def localization_spec(dataset: str) -> TaskSpec:
    """Return the localization task of a published decoder."""
    # category ids count from 1, as ChestX-Det's do
    named = dict(enumerate(_CLASSES[dataset], start=1))
    return TaskSpec(
        Task(dataset, Kind.LOCALIZATION), tuple(named.get(number, f"category {number}") for number in range(OUTPUTS))
    )


def localization_rules(backbone_prefix: str) -> Sequence[Rule]:
    """Return the rules of the branch.

    Args:
        backbone_prefix: of the foreign backbone's keys, which hold the norms of the maps.
    """
    encoder = "trunk.loc_encoder.encoder."
    attention, feedforward = "|".join(_ATTENTION), "|".join(_FEEDFORWARD)

    def norm_of_map(match: re.Match[str]) -> str:
        return f"trunk.loc_encoder.norms.{int(match[1]) - 1}.{match[2]}"

    def encoder_layer(match: re.Match[str]) -> str:
        return (
            f"{encoder}layers.{match[1]}.{_layer_part(match[2], 'self_attn', 'attention', _ENCODER_NORMS)}.{match[3]}"
        )

    def decoder_layer(match: re.Match[str]) -> str:
        part = _layer_part(match[3], "cross_attn", "cross_attention", _DECODER_NORMS)
        return f"{_decoder(match[1])}layers.{match[2]}.{part}.{match[4]}"

    parts = rf"(?:self_attn|cross_attn)\.(?:{attention})|norm\d|{feedforward}"
    return [
        Rule(rf"{re.escape(backbone_prefix)}Locnorm(\d)\.(\w+)", norm_of_map),
        Rule(r"input_proj\.(\d)\.(\d)\.(\w+)", rf"{encoder}projections.\1.\2.\3"),
        Rule(r"transformer\.level_embed", f"{encoder}level_embedding"),
        Rule(r"transformer\.tgt_embed\.weight", f"{encoder}content"),
        Rule(rf"transformer\.encoder\.layers\.(\d)\.({parts})\.(\w+)", encoder_layer),
        Rule(rf"transformer\.decoder\.(\d)\.layers\.(\d)\.({parts})\.(\w+)", decoder_layer),
        Rule(
            r"transformer\.decoder\.(\d)\.layers\.(\d)\.self_attn\.(.+)",
            lambda m: f"{_decoder(m[1])}layers.{m[2]}.self_attention.{m[3]}",
        ),
        Rule(r"transformer\.decoder\.(\d)\.norm\.(\w+)", lambda m: f"{_decoder(m[1])}norm.{m[2]}"),
        Rule(
            r"transformer\.decoder\.(\d)\.ref_point_head\.layers\.(\d)\.(\w+)",
            lambda m: f"{_decoder(m[1])}position.{2 * int(m[2])}.{m[3]}",
        ),
        Rule(
            r"transformer\.enc_outputMem_LinearProjection\.(\d)\.(\w+)",
            lambda m: f"{_decoder(m[1])}memory_projection.{m[2]}",
        ),
        Rule(r"transformer\.enc_output\.(\d)\.(\w+)", lambda m: f"{_head(m[1])}proposal.0.{m[2]}"),
        Rule(r"transformer\.enc_output_norm\.(\d)\.(\w+)", lambda m: f"{_head(m[1])}proposal.1.{m[2]}"),
        Rule(r"transformer\.enc_out_class_embed\.(\d)\.(\w+)", lambda m: f"{_head(m[1])}proposal_class.{m[2]}"),
        Rule(
            r"transformer\.enc_out_bbox_embed\.(\d)\.layers\.(\d)\.(\w+)",
            lambda m: f"{_head(m[1])}proposal_box.{2 * int(m[2])}.{m[3]}",
        ),
        Rule(r"class_embed_\.(\d)\.\d\.(\w+)", lambda m: f"{_head(m[1])}classes.{m[2]}"),
        Rule(r"bbox_embed_\.(\d)\.\d\.layers\.(\d)\.(\w+)", lambda m: f"{_head(m[1])}boxes.{2 * int(m[2])}.{m[3]}"),
        Rule(
            r"(?:transformer\.decoder\.(\d)\.bbox_embed|bbox_embed\.(\d))\.\d\.layers\.(\d)\.(\w+)",
            lambda m: f"{_head(m[1] or m[2])}refinement.{2 * int(m[3])}.{m[4]}",
        ),
        Rule(r"(?:transformer\.decoder\.\d\.class_embed|class_embed\.\d)\.\d\.\w+", None, _NO_EFFECT),
        Rule(r"label_enc\.weight", None, _TRAINING_ONLY),
    ]


def _layer_part(name: str, attention: str, own: str, norms: dict[str, int]) -> str:
    if name in norms:
        return f"norms.{norms[name]}"
    if name in _FEEDFORWARD:
        return f"feedforward.{_FEEDFORWARD[name]}"
    return f"{own}.{_ATTENTION[name.removeprefix(f'{attention}.')]}"


def _decoder(number: str) -> str:
    return f"heads.loc_decoder.{DATASETS[int(number)]}."


def _head(number: str) -> str:
    return f"heads.loc_head.{DATASETS[int(number)]}."
