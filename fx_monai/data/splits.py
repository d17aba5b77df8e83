"""One patient-wise division into train, val and test, shared by all datasets of a recipe."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fx_monai.data.manifest import Manifest
from fx_monai.errors import ConfigError

PARTS = ("train", "val", "test")

# dataset, and whether a group shows there: a positive label, a box, a mask
_Shown = tuple[str, bool, bool, bool]
_Stratum = tuple[_Shown, ...]


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
    Where that leaves a dataset's positive labels, boxes or masks out of a part, a group moves there.

    Args:
        manifests: one per dataset; their order doesn't matter.
        seed: of the division.
        fractions: train, val, test, of the groups that have no official part.
        fold: (k, n) for cross-validation: test is part k (from 0) of n; official splits are not used.
        use_official: whether to look at official splits.

    Raises:
        ConfigError: fractions that don't add up to 1 or leave nothing to train on, or a fold out of range.
    """
    _check(fractions, fold)
    ordered = sorted(manifests, key=lambda m: m.dataset)
    groups = _groups(ordered)
    keys, strata = _describe(ordered, groups)
    val_of_train = fractions[1] / (fractions[0] + fractions[1])
    part: dict[int, str] = {}
    without_val: list[int] = []
    notes: list[str] = []
    if use_official and fold is None:
        part, without_val = _official(ordered, groups, notes)
        part.update(_divide(without_val, keys, strata, seed, {"val": val_of_train, "train": 1 - val_of_train}))
    rest = [g for g in keys if g not in part]
    if fold is None:
        part.update(_divide(rest, keys, strata, seed, dict(zip(PARTS, fractions, strict=True))))
    else:
        part.update(_folds(rest, keys, strata, seed, fold, val_of_train))
    # the test part of a fold stays as it is
    inner = {g for g in (*rest, *without_val) if fold is None or part[g] != "test"}
    movable = {"train": inner, "test": set(rest) if fold is None and fractions[2] else set()}
    movable["val"] = inner if val_of_train else set()
    _cover(part, movable, strata, _ordered(list(keys), keys, strata, seed))
    by_dataset, start = {}, 0
    for manifest in ordered:
        rows = groups[start : start + len(manifest)]
        by_dataset[manifest.dataset] = np.array([part[int(g)] for g in rows], dtype="<U5")
        start += len(manifest)
    return Splits(by_dataset, tuple(notes))


def _check(fractions: tuple[float, float, float], fold: tuple[int, int] | None) -> None:
    train, val, test = fractions
    if min(train, val, test) < 0 or train == 0 or abs(train + val + test - 1) > 1e-6:
        raise ConfigError(
            where="split",
            problem=f"the fractions are {train:g}, {val:g}, {test:g}",
            expected="train, val, test of at least 0 that add up to 1, train above 0",
            remedy="Correct the fractions",
        )
    if fold is not None and not (fold[1] >= 2 and 0 <= fold[0] < fold[1]):
        raise ConfigError(
            where="split",
            problem=f"fold {fold[0]} of {fold[1]}",
            expected="at least 2 folds, and a fold from 0 to one less than their number",
            remedy="Correct the fold",
        )


def _groups(manifests: Sequence[Manifest]) -> NDArray[np.int64]:
    """Return the connected component of every row of all manifests, one after another."""
    nodes: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    row = 0
    for manifest in manifests:
        root = manifest.root.resolve()
        for patient, path, source in zip(
            manifest.column("patient_id"), manifest.column("image_path"), manifest.column("source_image"), strict=True
        ):
            names = [f"file {os.path.realpath(root / path)}"]
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


def _official(
    manifests: Sequence[Manifest], groups: NDArray[np.int64], notes: list[str]
) -> tuple[dict[int, str], list[int]]:
    """Return the official part of groups, and the training groups to carve val from (datasets without official val)."""
    fixed: dict[int, str] = {}
    has_val: set[int] = set()
    lacks_val: set[int] = set()
    start = 0
    for manifest in manifests:
        official = manifest.column("split")
        rows = groups[start : start + len(manifest)]
        start += len(manifest)
        problem = _starved(manifest, official)
        if problem:
            notes.append(f"{manifest.dataset}: the official split leaves {problem}; patients are divided anew")
        if problem or "test" not in official:
            continue
        touched = has_val if "val" in official else lacks_val
        for group, part in zip(rows.tolist(), official, strict=True):
            if part:
                # the strictest part wins when a patient stands in several
                fixed[group] = max(part, fixed.get(group, part), key=PARTS.index)
                touched.add(group)
    return fixed, [group for group in sorted(lacks_val - has_val) if fixed[group] == "train"]


def _starved(manifest: Manifest, official: Sequence[str]) -> str:
    """Return what an official split leaves without images: a kind of annotation in train, or the test; else ""."""
    if not any(official):
        return ""
    if "test" not in official:
        return "no test image"
    kinds = {
        "labels": [any(v == v for v in row or ()) for row in manifest.column("labels")],
        "boxes": [bool(row) for row in manifest.column("boxes")],
        "masks": [bool(row) for row in manifest.column("masks")],
    }
    for kind, present in kinds.items():
        if any(present) and not any(p and part == "train" for p, part in zip(present, official, strict=True)):
            return f"{kind} no training image"
    return ""


def _describe(manifests: Sequence[Manifest], groups: NDArray[np.int64]) -> tuple[dict[int, str], dict[int, _Stratum]]:
    """Return a name that doesn't depend on order, and the stratum, of every group."""
    names: dict[int, str] = {}
    strata: dict[int, set[_Shown]] = defaultdict(set)
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
            strata[group].add((manifest.dataset, bool(positive[i]), bool(boxes[i]), bool(masks[i])))
            row += 1
    return names, {group: tuple(sorted(kinds)) for group, kinds in strata.items()}


def _ordered(groups: Sequence[int], keys: Mapping[int, str], strata: Mapping[int, _Stratum], seed: int) -> list[int]:
    """Return the groups stratum by stratum, shuffled inside by a hash of seed and name."""

    def rank(group: int) -> tuple[_Stratum, str]:
        return strata[group], hashlib.sha256(f"{seed}:{keys[group]}".encode()).hexdigest()

    return sorted(groups, key=rank)


def _divide(
    groups: Sequence[int],
    keys: Mapping[int, str],
    strata: Mapping[int, _Stratum],
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
    strata: Mapping[int, _Stratum],
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


def _cover(
    part: dict[int, str], movable: Mapping[str, set[int]], strata: Mapping[int, _Stratum], order: Sequence[int]
) -> None:
    """Give train, test and val, in this order, a group of every kind of finding of every dataset, if there are enough.

    Train takes from the other parts, the other parts take what train can spare.
    """
    holders: dict[tuple[str, int], list[int]] = defaultdict(list)
    for group in order:
        for kind in {(shown[0], i) for shown in strata[group] for i in (1, 2, 3) if shown[i]}:
            holders[kind].append(group)
    for _, found in sorted(holders.items(), key=lambda item: (len(item[1]), item[0])):
        for name, groups in movable.items():
            if any(part[group] == name for group in found):
                continue
            scarce = {g for held in holders.values() for g in _only(held, part)}
            spare = [g for g in found if g in groups and (name == "train" or part[g] == "train") and g not in scarce]
            if spare:
                part[spare[0]] = name


def _only(groups: Sequence[int], part: Mapping[int, str]) -> list[int]:
    """Return the training group of a kind when it has no other."""
    train = [group for group in groups if part[group] == "train"]
    return train if len(train) == 1 else []
