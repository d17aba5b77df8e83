"""One patient-wise division into train, val and test, shared by all datasets of a recipe."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fx_monai.data.manifest import Manifest

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """The division.

    Args:
        by_dataset: dataset -> "train", "val" or "test" per row of its manifest.
        notes: where official splits were not used, and why.
    """

    by_dataset: Mapping[str, NDArray[np.str_]]
    notes: tuple[str, ...] = ()


def assign_splits(
    manifests: Sequence[Manifest],
    *,
    seed: int,
    fractions: tuple[float, float, float],
    fold: tuple[int, int] | None = None,
    use_official: bool = True,
) -> Splits:
    """Divide the patients of several datasets.

    Images belong together when they share the patient, the file or the original image, in whichever dataset. Groups
    of images never are divided. An official split is taken where it leaves every kind of annotation something to
    train on; a group with an official test image is test in all datasets. The other groups are divided within strata
    (which datasets they show, with or without findings), in an order that depends on the seed and the group alone.

    Args:
        manifests: their order doesn't matter.
        seed: of the division.
        fractions: of the groups that have no official part: train, val, test.
        fold: (k, n) for cross-validation: test is part k of n; official splits are not used.
        use_official: whether to look at official splits.
    """
    ordered = sorted(manifests, key=lambda m: m.dataset)
    groups = _groups(ordered)
    notes: list[str] = []
    fixed: dict[int, str] = {}
    if use_official and fold is None:
        fixed = _official(ordered, groups, notes)
    keys, strata = _describe(ordered, groups)
    part = dict(fixed)
    free_official = [g for g in fixed if fixed[g] == "train"]
    val_of_train = fractions[1] / (fractions[0] + fractions[1])
    if "val" not in fixed.values():
        part.update(_divide(free_official, keys, strata, seed, {"val": val_of_train, "train": 1 - val_of_train}))
    rest = [g for g in keys if g not in fixed]
    if fold is None:
        part.update(_divide(rest, keys, strata, seed, dict(zip(PARTS, fractions, strict=True))))
    else:
        part.update(_folds(rest, keys, strata, seed, fold, val_of_train))
    by_dataset, start = {}, 0
    for manifest in ordered:
        rows = groups[start : start + len(manifest)]
        by_dataset[manifest.dataset] = np.array([part[int(g)] for g in rows], dtype="<U5")
        start += len(manifest)
    return Splits(by_dataset, tuple(notes))


def _groups(manifests: Sequence[Manifest]) -> NDArray[np.int64]:
    """Return the connected component of every row of all manifests, one after another."""
    nodes: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    row = 0
    for manifest in manifests:
        root = str(manifest.root.resolve())
        for patient, path, source in zip(
            manifest.column("patient_id"), manifest.column("image_path"), manifest.column("source_image"), strict=True
        ):
            names = [f"file {root}/{path}"]
            names += [f"patient {patient}"] if patient else []
            names += [f"source {source}"] if source else []
            for name in names:
                rows.append(row)
                columns.append(nodes.setdefault(name, len(nodes)))
            row += 1
    size = row + len(nodes)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, [row + c for c in columns])), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return labels[:row].astype(np.int64)


def _official(manifests: Sequence[Manifest], groups: NDArray[np.int64], notes: list[str]) -> dict[int, str]:
    fixed: dict[int, str] = {}
    start = 0
    for manifest in manifests:
        official = manifest.column("split")
        rows = groups[start : start + len(manifest)]
        start += len(manifest)
        if "test" not in official:
            continue
        starved = _starved(manifest, official)
        if starved:
            notes.append(
                f"{manifest.dataset}: the official split leaves {starved} no training image; patients are divided anew"
            )
            continue
        for group, part in zip(rows.tolist(), official, strict=True):
            if part:
                # the strictest part wins when a patient stands in several
                fixed[group] = max(part, fixed.get(group, part), key=PARTS.index)
    return fixed


def _starved(manifest: Manifest, official: Sequence[str]) -> str:
    """Return the kind of annotation that has no official training image although it has others, or ""."""
    kinds = {
        "labels": [any(v == v for v in row or ()) for row in manifest.column("labels")],
        "boxes": [bool(row) for row in manifest.column("boxes")],
        "masks": [bool(row) for row in manifest.column("masks")],
    }
    for kind, present in kinds.items():
        if any(present) and not any(p and part == "train" for p, part in zip(present, official, strict=True)):
            return kind
    return ""


def _describe(
    manifests: Sequence[Manifest], groups: NDArray[np.int64]
) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Return a name that doesn't depend on order, and the stratum, of every group."""
    names: dict[int, str] = {}
    strata: dict[int, set[str]] = defaultdict(set)
    row = 0
    for manifest in manifests:
        labels = manifest.labels()
        positive = (labels == 1).any(axis=1) if labels.size else np.zeros(len(manifest), dtype=bool)
        boxes, masks, ids = manifest.column("boxes"), manifest.column("masks"), manifest.column("image_id")
        patients = manifest.column("patient_id")
        for i in range(len(manifest)):
            group = int(groups[row])
            name = patients[i] or f"{manifest.dataset}/{ids[i]}"
            names[group] = min(names.get(group, name), name)
            strata[group].add(f"{manifest.dataset} {bool(positive[i])} {bool(boxes[i])} {bool(masks[i])}")
            row += 1
    return names, {group: tuple(sorted(kinds)) for group, kinds in strata.items()}


def _ordered(
    groups: Sequence[int], keys: Mapping[int, str], strata: Mapping[int, tuple[str, ...]], seed: int
) -> list[int]:
    """Return the groups stratum by stratum, shuffled inside by a hash of seed and name."""

    def rank(group: int) -> tuple[tuple[str, ...], str]:
        return strata[group], hashlib.sha256(f"{seed}:{keys[group]}".encode()).hexdigest()

    return sorted(groups, key=rank)


def _divide(
    groups: Sequence[int],
    keys: Mapping[int, str],
    strata: Mapping[int, tuple[str, ...]],
    seed: int,
    fractions: Mapping[str, float],
) -> dict[int, str]:
    """Give each group the part that lags most behind its fraction; in stratum order this keeps every stratum even."""
    counts = dict.fromkeys(fractions, 0)
    part: dict[int, str] = {}
    for number, group in enumerate(_ordered(groups, keys, strata, seed), start=1):
        chosen = max(fractions, key=lambda name: (fractions[name] * number - counts[name], fractions[name]))
        counts[chosen] += 1
        part[group] = chosen
    return part


def _folds(
    groups: Sequence[int],
    keys: Mapping[int, str],
    strata: Mapping[int, tuple[str, ...]],
    seed: int,
    fold: tuple[int, int],
    val_of_train: float,
) -> dict[int, str]:
    index, number = fold
    order = _ordered(groups, keys, strata, seed)
    test = set(order[index::number])
    rest = [group for group in order if group not in test]
    val = _divide(rest, keys, strata, seed, {"val": val_of_train, "train": 1 - val_of_train})
    return {group: "test" if group in test else val[group] for group in order}
