"""Labels of one picture that contradict each other, by the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fx_monai.data.columns import label_matrix
from fx_monai.data.manifest import Manifest
from fx_monai.data.same_images import Rows, SameImages
from fx_monai.data.vocabulary import Relation, vocabulary


@dataclass(frozen=True)
class Conflicts:
    """Pairs of rows in which two labels contradict: the positive one implies what the negative one denies.

    Args:
        finding: harmonised id of the label that is denied; "" for in-house labels.
        positive: rows in which ``positive_label`` is present.
        positive_dataset, positive_label: of the label that is present.
        negative: rows of the same pictures in which ``negative_label`` is absent.
        negative_dataset, negative_label: of the label that is absent.
        both_present: number of pairs in which the second label is present too, as the first implies.
    """

    finding: str
    positive: Rows
    positive_dataset: str
    positive_label: str
    negative: Rows
    negative_dataset: str
    negative_label: str
    both_present: int


def label_conflicts(manifests: Sequence[Manifest], pairs: SameImages) -> list[Conflicts]:
    """Return the contradictions among image-level labels of the same picture.

    Equal findings contradict when one is present and the other absent. A label that is narrower than its finding, or a
    finding's child, contradicts only where it is present and the broader one absent. Labels that are merely close to a
    finding, uncertain (-1) or not annotated (NaN) contradict nothing.
    """
    starts = np.cumsum([0, *(len(manifest) for manifest in manifests)])
    owner = (np.searchsorted(starts, pairs.first, "right") - 1, np.searchsorted(starts, pairs.second, "right") - 1)
    values = [label_matrix(m.table, len(m.classes.labels)) for m in manifests]
    found = []
    for a, b in sorted(set(zip(*(side.tolist() for side in owner), strict=True))):
        chosen = (owner[0] == a) & (owner[1] == b)
        rows = (pairs.first[chosen], pairs.second[chosen])
        own = (values[a][rows[0] - starts[a]], values[b][rows[1] - starts[b]])
        for one, other in ((0, 1), (1, 0)):
            datasets = (manifests[(a, b)[one]], manifests[(a, b)[other]])
            for present, absent, finding in _implications(*datasets):
                stated = own[one][:, present] == 1
                hit, agreed = stated & (own[other][:, absent] == 0), stated & (own[other][:, absent] == 1)
                if hit.any():
                    chosen_rows = (rows[one][hit], rows[other][hit])
                    found.append(_conflicts(datasets, (present, absent), chosen_rows, finding, int(agreed.sum())))
    return found


def _conflicts(
    datasets: tuple[Manifest, Manifest],
    labels: tuple[int, int],
    rows: tuple[Rows, Rows],
    finding: str,
    both_present: int,
) -> Conflicts:
    (positive, negative), (present, absent) = datasets, labels
    return Conflicts(
        finding,
        rows[0],
        positive.dataset,
        positive.classes.labels[present],
        rows[1],
        negative.dataset,
        negative.classes.labels[absent],
        both_present,
    )


def _implications(positive: Manifest, negative: Manifest) -> Iterator[tuple[int, int, str]]:
    """Yield label of one dataset, label of the other, finding: where the first is present the second must be."""
    words = vocabulary()
    for present, name in enumerate(positive.classes.labels):
        for absent, denied in enumerate(negative.classes.labels):
            if positive.dataset == negative.dataset and name == denied:
                yield present, absent, words.finding_of(negative.dataset, denied)
                continue
            if positive.dataset == negative.dataset:
                continue
            one, other = words.meaning(positive.dataset, name), words.meaning(negative.dataset, denied)
            if one is None or other is None or other.relation is not Relation.SAME:
                continue
            if one.relation not in (Relation.SAME, Relation.NARROWER):
                continue
            if one.finding == other.finding or other.finding in words.ancestors(one.finding):
                yield present, absent, other.finding


def number_of_conflicts(found: Sequence[Conflicts]) -> int:
    """Return how many pairs of rows contradict in some label."""
    pairs = {tuple(sorted(pair)) for c in found for pair in zip(c.positive.tolist(), c.negative.tolist(), strict=True)}
    return len(pairs)
