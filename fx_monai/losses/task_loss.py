"""The loss of a task, by its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from fx_monai.keys import LABELS, MASKS, MASKS_ANNOTATED
from fx_monai.losses.class_weighting import exclusive_weights, positive_weights
from fx_monai.losses.cross_entropy import masked_cross_entropy
from fx_monai.losses.dice import flat_dice
from fx_monai.losses.dice_ce import dice_ce
from fx_monai.losses.masked_bce import masked_bce
from fx_monai.losses.options import LossOptions
from fx_monai.losses.set_criterion import set_criterion
from fx_monai.ops.box_targets import BoxTargets
from fx_monai.ops.label_counts import LabelCounts
from fx_monai.types import Kind, TaskSpec

LOCALIZATION_AT_START = 8.0
"""About what the localization loss of an untrained network is, measured on the demo cohort."""


_DEFAULT = LossOptions()


class HasPredictions(Protocol):
    """Raw output of a task, such as :class:`fx_monai.models.foundation_x.TaskOutput`."""

    @property
    def predictions(self) -> Mapping[str, Tensor]:
        """Tensors by name."""


def task_loss(
    spec: TaskSpec,
    output: HasPredictions,
    batch: Mapping[str, Any],
    options: LossOptions = _DEFAULT,
    class_weight: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch, (), and its parts, which add up to it; a few units at most for fresh heads.

    Args:
        spec: the task.
        output: of the network for this batch.
        batch: see :mod:`fx_monai.keys`.
        options: which losses, where there is a choice.
        class_weight: (K,), see :func:`class_weight_of`; classification only.
    """
    predictions = output.predictions
    if spec.task.kind is Kind.CLASSIFICATION:
        classify = masked_cross_entropy if _one_holds(spec, options) else masked_bce
        parts = {"class_loss": classify(predictions["logits"], batch[LABELS], class_weight)}
    elif spec.task.kind is Kind.SEGMENTATION and options.segmentation == "dice":
        parts = {"dice_loss": flat_dice(predictions["logits"], batch[MASKS], batch[MASKS_ANNOTATED])}
    elif spec.task.kind is Kind.SEGMENTATION:
        dice, cross_entropy = dice_ce(predictions["logits"], batch[MASKS], batch[MASKS_ANNOTATED])
        parts = {"dice_loss": dice, "pixel_loss": cross_entropy}
    else:
        parts = set_criterion(predictions, BoxTargets.of_batch(batch))
    total = sum(parts.values(), start=predictions["logits"].new_zeros(()))
    return total, parts


def class_weight_of(spec: TaskSpec, options: LossOptions, counts: LabelCounts) -> Tensor | None:
    """Return the weights of a classification task's classes, (K,), from the counts of its training labels."""
    if options.class_weighting == "none":
        return None
    return (exclusive_weights if _one_holds(spec, options) else positive_weights)(counts, options.class_weighting)


def initial_loss(spec: TaskSpec, options: LossOptions = _DEFAULT) -> float:
    """Return about what the loss of an untrained network is, so that a loss divided by it begins at 1.

    Source: UMedPT (Nature Computational Science 2024), code: cross-entropy over ln K, binary cross-entropy over ln 2.
    For segmentation an untrained network has a Dice loss of about 1 and a cross-entropy of ln 2.
    """
    if spec.task.kind is Kind.CLASSIFICATION:
        return math.log(len(spec.classes)) if _one_holds(spec, options) else math.log(2)
    if spec.task.kind is Kind.SEGMENTATION:
        return 1.0 if options.segmentation == "dice" else 1 + math.log(2)
    return LOCALIZATION_AT_START


def _one_holds(spec: TaskSpec, options: LossOptions) -> bool:
    return spec.exclusive and options.exclusive == "cross_entropy"
