"""One patient-wise division into train, val and test, shared by all datasets of a recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.columns import label_matrix, present, release_unused_memory
from fx_monai.data.groups import linked_groups
from fx_monai.data.manifest import Manifest
from fx_monai.errors import ConfigError

PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
_OPEN = -1
_BATCH = 4096

Groups = NDArray[np.int64]
Flags = NDArray[np.bool_]


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
    links: pa.Table | None = None,
) -> Splits:
    """Divide the patients of several datasets.

    Images belong together when they share the patient, the file or the original image, in whichever dataset. Groups
    of images never are divided. An official split is taken where it leaves every kind of annotation something to
    train on; a group with an official test image is test in all datasets. Where the annotations of all official test
    images are withheld, the official val is the test. The other groups are divided within strata (which datasets they
    show, with or without findings), in an order that depends on the seed and the group alone. Where that leaves a
    dataset's positive labels, boxes or masks out of a part, a group moves there.

    Args:
        manifests: one per dataset; their order doesn't matter.
        seed: of the division.
        fractions: train, val, test, of the groups that have no official part.
        fold: (k, n) for cross-validation: test is part k (from 0) of n; official splits are not used.
        use_official: whether to look at official splits.
        links: further images that belong together, see :func:`fx_monai.data.exclusions.read_links`.

    Raises:
        ConfigError: fractions that don't add up to 1 or leave nothing to train on, or a fold out of range.
    """
    _check(fractions, fold)
    ordered = sorted(manifests, key=lambda m: m.dataset)
    people = _People.of(ordered, seed, links)
    val_of_train = fractions[1] / (fractions[0] + fractions[1])
    part = np.full(people.number, _OPEN)
    without_val = np.zeros(people.number, dtype=bool)
    notes: list[str] = []
    if use_official and fold is None:
        part, without_val = _official(ordered, people, notes)
        chosen = people.order[without_val[people.order]]
        part[chosen] = _divide(len(chosen), {VAL: val_of_train, TRAIN: 1 - val_of_train})
    is_open = part == _OPEN
    rest = people.order[is_open[people.order]]
    # the test part of a fold stays as it is
    inner = is_open | without_val
    if fold is None:
        part[rest] = _divide(len(rest), dict(enumerate(fractions)))
    else:
        part[rest] = _fold(len(rest), fold, val_of_train)
        inner &= part != TEST
    movable = {TRAIN: inner, TEST: is_open & (fold is None and fractions[2] > 0), VAL: inner & (val_of_train > 0)}
    _cover(part, movable, people)
    by_dataset, start = {}, 0
    for manifest in ordered:
        rows = people.of_row[start : start + len(manifest)]
        by_dataset[manifest.dataset] = np.array(PARTS)[part[rows]]
        start += len(manifest)
    release_unused_memory()
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


@dataclass(frozen=True)
class _People:
    """Groups of images that stay together: patients, as far as the manifests tell.

    Args:
        of_row: (rows,), group of every row of all manifests, one after another.
        order: (groups,), groups stratum by stratum, shuffled inside by a hash of seed and name.
        shown: (dataset, kind of finding) -> (groups,), whether the group shows it.
    """

    of_row: Groups
    order: Groups
    shown: Mapping[tuple[str, int], Flags]

    @property
    def number(self) -> int:
        """Number of groups."""
        return len(self.order)

    @classmethod
    def of(cls, manifests: Sequence[Manifest], seed: int, links: pa.Table | None) -> _People:
        of_row = linked_groups(manifests, links)
        number = int(of_row.max()) + 1 if len(of_row) else 0
        found = [_findings(manifest) for manifest in manifests]
        starts = np.cumsum([0, *(len(manifest) for manifest in manifests)])
        shown, stratum = {}, np.zeros((number, 0), dtype=bool)
        for manifest, kinds, start in zip(manifests, found, starts[:-1], strict=True):
            rows = of_row[start : start + len(manifest)]
            for kind in range(kinds.shape[1]):
                flags = np.zeros(number, dtype=bool)
                flags[rows[kinds[:, kind]]] = True
                shown[manifest.dataset, kind + 1] = flags
            # every combination that one of the group's images has, in the order of the combinations
            codes = kinds @ np.array([4, 2, 1])
            combined = np.zeros((number, 8), dtype=bool)
            combined[rows, codes] = True
            stratum = np.concatenate([stratum, combined], axis=1)
        digests = (hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in _names(manifests, of_row, number))
        shuffled = np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=">u8")
        return cls(of_row, np.lexsort((shuffled, _rank_strata(stratum))), shown)


def _findings(manifest: Manifest) -> Flags:
    """Return whether every row shows a positive label, a box, a mask: (rows, 3)."""
    labels = label_matrix(manifest.table, len(manifest.classes.labels))
    columns = ((labels == 1).any(axis=1), present(manifest.table, "boxes"), present(manifest.table, "masks"))
    return np.stack(columns, axis=1)


def _rank_strata(stratum: Flags) -> NDArray[np.int64]:
    """Return the rank of each group's stratum: strata are compared like sorted lists of their combinations."""
    packed, group_stratum = np.unique(np.packbits(stratum, axis=1), axis=0, return_inverse=True)
    combinations = np.unpackbits(packed, axis=1, count=stratum.shape[1])
    as_lists = [np.flatnonzero(row).tolist() for row in combinations]
    ranks = np.empty(len(as_lists), dtype=np.int64)
    ranks[sorted(range(len(as_lists)), key=as_lists.__getitem__)] = np.arange(len(as_lists))
    return ranks[group_stratum.reshape(-1)]


def _names(manifests: Sequence[Manifest], of_row: Groups, number: int) -> Iterator[str]:
    """Yield a name of every group that doesn't depend on order: the first of its patients or images."""
    columns = []
    for manifest in manifests:
        patients, ids = manifest.table.column("patient_id"), manifest.table.column("image_id")
        unknown = pc.fill_null(pc.equal(patients, ""), True)
        columns.append(pc.if_else(unknown, pc.binary_join_element_wise(manifest.dataset, ids, "/"), patients))
    encoded = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    if not number:
        return
    codes = encoded.dictionary_encode().combine_chunks()
    alphabetical = np.asarray(pc.sort_indices(codes.dictionary))
    rank = np.empty(len(alphabetical), dtype=np.int64)
    rank[alphabetical] = np.arange(len(alphabetical))
    first = np.full(number, len(alphabetical))
    np.minimum.at(first, of_row, rank[np.asarray(codes.indices)])
    for at in range(0, number, _BATCH):
        yield from codes.dictionary.take(pa.array(alphabetical[first[at : at + _BATCH]])).to_pylist()


def _official(manifests: Sequence[Manifest], people: _People, notes: list[str]) -> tuple[NDArray[np.int64], Flags]:
    """Return the official part of groups, and the training groups to carve val from (datasets without official val)."""
    part = np.full(people.number, _OPEN)
    has_val, lacks_val = np.zeros((2, people.number), dtype=bool)
    start = 0
    for manifest in manifests:
        official = np.asarray(pc.index_in(manifest.table.column("split"), pa.array(PARTS)).fill_null(_OPEN))
        rows = people.of_row[start : start + len(manifest)]
        start += len(manifest)
        official = _with_annotated_test(manifest, official, notes)
        problem = _starved(manifest, official)
        if problem:
            notes.append(f"{manifest.dataset}: the official split leaves {problem}; patients are divided anew")
        if problem or TEST not in official:
            continue
        # the strictest part wins when a patient stands in several
        np.maximum.at(part, rows, official)
        (has_val if VAL in official else lacks_val)[rows[official != _OPEN]] = True
    return part, lacks_val & ~has_val & (part == TRAIN)


def _with_annotated_test(manifest: Manifest, official: NDArray[np.int64], notes: list[str]) -> NDArray[np.int64]:
    """Let the official val be the test where the labels of all test images are withheld (TBX11K)."""
    labels = label_matrix(manifest.table, len(manifest.classes.labels))
    annotated = ~np.isnan(labels).all(axis=1)
    for column in ("boxes_annotated", "masks_annotated"):
        annotated |= present(manifest.table, column)
    is_test = official == TEST
    if not is_test.any() or (annotated & is_test).any() or not (annotated & (official == VAL)).any():
        return official
    notes.append(f"{manifest.dataset}: the official test images are not annotated; the official val is the test")
    return np.where(official == VAL, TEST, np.where(is_test, _OPEN, official))


def _starved(manifest: Manifest, official: NDArray[np.int64]) -> str:
    """Return what an official split leaves without images: a kind of annotation in train, or the test; else ""."""
    if (official == _OPEN).all():
        return ""
    if TEST not in official:
        return "no test image"
    labels = label_matrix(manifest.table, len(manifest.classes.labels))
    kinds = {
        "labels": ~np.isnan(labels).all(axis=1),
        "boxes": present(manifest.table, "boxes"),
        "masks": present(manifest.table, "masks"),
    }
    for kind, found in kinds.items():
        if found.any() and not (official[found] == TRAIN).any():
            return f"{kind} no training image"
    return ""


def _divide(number: int, fractions: Mapping[int, float]) -> NDArray[np.int64]:
    """Give one group after the other the part that lags most behind its fraction; this keeps every stratum even."""
    # of parts that lag equally the largest comes first
    names = sorted(fractions, key=lambda name: -fractions[name])
    shares, counts = [fractions[name] for name in names], [0] * len(names)
    chosen = []
    for position in range(1, number + 1):
        lags = [share * position - count for share, count in zip(shares, counts, strict=True)]
        most = lags.index(max(lags))
        counts[most] += 1
        chosen.append(most)
    return np.array(names, dtype=np.int64)[np.array(chosen, dtype=np.int64)]


def _fold(number: int, fold: tuple[int, int], val_of_train: float) -> NDArray[np.int64]:
    index, of = fold
    parts = np.full(number, TEST)
    is_test = np.arange(number) % of == index
    parts[~is_test] = _divide(int((~is_test).sum()), {VAL: val_of_train, TRAIN: 1 - val_of_train})
    return parts


def _cover(part: NDArray[np.int64], movable: Mapping[int, Flags], people: _People) -> None:
    """Give train, test and val, in this order, a group of every kind of finding of every dataset, if there are enough.

    Train takes from the other parts, the other parts take what train can spare.
    """
    holders = {kind: people.order[flags[people.order]] for kind, flags in people.shown.items() if flags.any()}
    for _, found in sorted(holders.items(), key=lambda item: (len(item[1]), item[0])):
        for name, groups in movable.items():
            if (part[found] == name).any():
                continue
            spare = found[groups[found] & ((part[found] == TRAIN) | (name == TRAIN))]
            spare = spare[~np.isin(spare, _scarce(part, holders))]
            if len(spare):
                part[spare[0]] = name


def _scarce(part: NDArray[np.int64], holders: Mapping[tuple[str, int], Groups]) -> list[int]:
    """Return the groups that are the only training group of a kind of finding."""
    training = (held[part[held] == TRAIN] for held in holders.values())
    return [int(groups[0]) for groups in training if len(groups) == 1]
