"""What a recipe makes of doubtful annotations: uncertain and unmentioned labels, readers who disagree, views.

The manifest keeps all of it; nothing is decided before a recipe says how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.columns import Ragged, label_matrix, ragged
from fx_monai.data.manifest import Manifest
from fx_monai.errors import check_choice
from fx_monai.ops.boxes import fuse_boxes_xyxy

UNCERTAIN = -1.0
SMOOTH_RANGE = (0.55, 0.85)
# two readers' boxes of one lesion overlap by more than this (IoU)
SAME_LESION = 0.4

_FIXED = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}
CHOICES = {
    "uncertain": (*_FIXED, "smooth"),
    "unmentioned": ("ignore", "zeros"),
    "label_consensus": ("agreement", "any", "majority", "all"),
    "box_consensus": ("any", "majority", "all", "fusion"),
}
VIEWS = ("PA", "AP", "LATERAL", "OTHER", "unknown")


@dataclass(frozen=True)
class Policies:
    """How doubtful annotations of a dataset are used.

    Args:
        uncertain: what a label -1 becomes: ``ignore`` (unknown), ``zeros``, ``ones``, or ``smooth`` (uniform in 0.55 to
            0.85, the "LSR-Ones" of Ark and Foundation X).
        unmentioned: what a label that a labelled image doesn't mention becomes: ``ignore`` (unknown) or ``zeros``.
        label_consensus: several readers' labels become: ``agreement`` (unknown where they disagree), ``any`` (present
            when one says so), ``majority`` (when more than half say so) or ``all``; but for ``agreement``, readers who
            are uncertain don't count beside others.
        box_consensus: several readers' boxes become: ``any`` (all of them as drawn), ``fusion`` (one box per lesion,
            the mean of its boxes), ``majority`` (such boxes that more than half of the readers drew) or ``all``.
        views: views that are used; ``unknown`` = images whose view isn't told.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    uncertain: str = "ignore"
    unmentioned: str = "ignore"
    label_consensus: str = "majority"
    box_consensus: str = "fusion"
    views: tuple[str, ...] = ("PA", "AP", "unknown")

    def __post_init__(self) -> None:
        """Refuse words that are none.

        Raises:
            ConfigError: an unknown policy or view, or no view at all.
        """
        for name, choices in CHOICES.items():
            check_choice(getattr(self, name), choices, where=name)
        for view in self.views or ("",):
            check_choice(view, VIEWS, where="views")


def chosen_views(manifest: Manifest, policies: Policies) -> NDArray[np.bool_]:
    """Return whether each row shows a view that is used."""
    views = pc.if_else(pc.equal(manifest.table.column("view"), ""), "unknown", manifest.table.column("view"))
    return np.asarray(pc.is_in(views, value_set=pc.cast(list(policies.views), "string")))


def decided_labels(manifest: Manifest, policies: Policies, seed: int) -> NDArray[np.float32]:
    """Return the labels to train with, (rows, classes): 0 to 1, NaN where unknown (no loss, no gradient).

    Args:
        manifest: annotations.
        policies: what is decided.
        seed: of smoothed labels; a row's value depends on nothing else.
    """
    labels, read = _consensus(manifest, policies.label_consensus)
    if policies.unmentioned == "zeros":
        # what readers disagree on was mentioned, and stays unknown
        mentioned = read | ~np.isnan(labels)
        labels[mentioned.any(axis=1, keepdims=True) & ~mentioned] = 0
    unsure: NDArray[np.bool_] = np.asarray(labels == UNCERTAIN)
    if policies.uncertain == "smooth":
        for row in np.flatnonzero(unsure.any(axis=1)).tolist():
            drawn = np.random.default_rng([seed, row]).uniform(*SMOOTH_RANGE, int(unsure[row].sum()))
            labels[row, unsure[row]] = drawn
    else:
        labels[unsure] = _FIXED[policies.uncertain]
    return labels


def decided_boxes(
    corners: NDArray[np.float32], classes: NDArray[np.int64], readers: NDArray[Any], number_of_readers: int, rule: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the boxes of one image to train with.

    Args:
        corners: (N, 4) xyxy in any pixels.
        classes: (N,).
        readers: (N,), who drew each box; all "" when readers aren't told apart.
        number_of_readers: who looked at the image.
        rule: see ``Policies.box_consensus``.

    Returns:
        (M, 4) corners and (M,) classes.
    """
    if rule == "any" or number_of_readers < 2:
        return corners, classes
    least = {"fusion": 1, "majority": number_of_readers // 2 + 1, "all": number_of_readers}[rule]
    fused: list[NDArray[np.float32]] = []
    of: list[int] = []
    for index in np.unique(classes):
        own = classes == index
        boxes, clusters = fuse_boxes_xyxy(corners[own], iou=SAME_LESION)
        drawn_by = [len(set(readers[own][clusters == number])) for number in range(len(boxes))]
        kept = [box for box, support in zip(boxes, drawn_by, strict=True) if support >= least]
        fused += kept
        of += [int(index)] * len(kept)
    return np.array(fused, dtype=np.float32).reshape(-1, 4), np.array(of, dtype=np.int64)


def readers_per_row(manifest: Manifest) -> NDArray[np.int64]:
    """Return how many readers looked at every row, 0 when they aren't told apart."""
    from_labels = ragged(manifest.table, "reader_labels").lengths
    boxes = ragged(manifest.table, "boxes")
    names = boxes.field("reader")
    known = np.asarray(pc.not_equal(names, ""))
    codes = np.asarray(names.dictionary_encode().combine_chunks().indices) if len(names) else np.zeros(0, np.int64)
    pairs = np.unique(np.stack([boxes.rows[known], codes[known]], axis=1), axis=0)
    return np.maximum(from_labels, np.bincount(pairs[:, 0], minlength=len(manifest)))


def _consensus(manifest: Manifest, rule: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the labels after a rule, and which of them a reader gave; both (rows, classes).

    Readers who are uncertain don't count, unless nobody else gave that label: then it is uncertain.
    """
    width = len(manifest.classes.labels)
    labels = label_matrix(manifest.table, width).copy()
    votes = ragged(manifest.table, "reader_labels")
    if not len(votes.items):
        return labels, np.zeros(labels.shape, dtype=bool)
    values = np.asarray(pc.list_flatten(votes.field("labels")), dtype=np.float32).reshape(-1, width)
    present, absent, unsure = (_sums(values == value, votes, len(labels)) for value in (1, 0, UNCERTAIN))
    if rule != "agreement":
        held = {"any": present > 0, "majority": present > absent, "all": absent == 0}[rule]
        told = present + absent > 0
        labels[told] = held[told]
        labels[~told & (unsure > 0)] = UNCERTAIN
    return labels, present + absent + unsure > 0


def _sums(flags: NDArray[np.bool_], votes: Ragged, rows: int) -> NDArray[np.int64]:
    total = np.zeros((rows, flags.shape[1]), dtype=np.int64)
    np.add.at(total, votes.rows, flags)
    return total
