"""The audit: images and patients that stand behind several rows, what leaks between splits, labels that contradict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from fx_monai.data.duplicates.hashes import Hashes, hash_images
from fx_monai.data.exclusions import EXCLUDE, LINKS
from fx_monai.data.groups import linked_groups
from fx_monai.data.label_conflicts import Conflicts, label_conflicts, number_of_conflicts
from fx_monai.data.manifest import Manifest
from fx_monai.data.same_images import EVIDENCE, LOOKS, Rows, SameImages, same_images
from fx_monai.data.splits import PARTS, TRAIN, assign_splits
from fx_monai.errors import ConfigError
from fx_monai.files import write_text
from fx_monai.progress import progress_bar
from fx_monai.recipe_sections import SplitSection

SPLITS = ("shared", "official")
_WORDS = {"origin": "same original as", "file": "same file as", "pixels": "same pixels as", "looks": "looks like"}

Parts = NDArray[np.int64]


@dataclass(frozen=True)
class Audit:
    """What was found; rows are counted over all manifests, one after another.

    Args:
        manifests: what was looked at.
        split: ``shared`` or ``official``.
        parts: (rows,) index into train, val, test; -1 = none.
        pairs: rows that show one picture.
        conflicts: labels of one picture that contradict.
        excluded: rows that should not be used, with reason and evidence.
        patient_leaks: rows outside the test whose patient has a test image, though it is another picture.
        unreadable: dataset and reason of every file that can't be read.
    """

    manifests: Sequence[Manifest]
    split: str
    parts: Parts
    pairs: SameImages
    conflicts: Sequence[Conflicts]
    excluded: pa.Table
    patient_leaks: Rows
    unreadable: Sequence[tuple[str, str, str]] = field(default_factory=tuple)

    def summary(self) -> dict[str, Any]:
        """Return counts as plain values."""
        owner = _owner(self.manifests)
        crossing = owner[self.pairs.first] != owner[self.pairs.second]
        kinds = Counter(
            (
                *sorted((self.manifests[owner[a]].dataset, self.manifests[owner[b]].dataset)),
                EVIDENCE[evidence] + (", mirrored" if mirrored else ""),
            )
            for a, b, evidence, mirrored in zip(
                *(
                    column.tolist()
                    for column in (self.pairs.first, self.pairs.second, self.pairs.evidence, self.pairs.mirrored)
                ),
                strict=True,
            )
        )
        reasons = Counter(self.excluded.column("reason").to_pylist())
        return {
            "images": {m.dataset: len(m) for m in self.manifests},
            "split": self.split,
            "same_picture_pairs": len(self.pairs),
            "between_datasets": int(crossing.sum()),
            "inside_a_dataset": int((~crossing).sum()),
            "pairs": [
                {"datasets": sorted({a, b}), "evidence": evidence, "pairs": count}
                for (a, b, evidence), count in sorted(kinds.items())
            ],
            "leaks": {
                "same_picture": reasons.get("leak", 0),
                "same_patient": len(self.patient_leaks),
            },
            "duplicates": {
                "exact": reasons.get("duplicate", 0),
                "by_looks": reasons.get("near_duplicate", 0),
            },
            "label_conflicts": {
                "pairs": number_of_conflicts(self.conflicts),
                "labels": [
                    {
                        "finding": c.finding or None,
                        "present": f"{c.positive_dataset}: {c.positive_label}",
                        "absent": f"{c.negative_dataset}: {c.negative_label}",
                        "pictures": len(c.positive),
                    }
                    for c in self.conflicts
                ],
            },
            "excluded": self.excluded.num_rows,
            "unreadable": len(self.unreadable),
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        found = self.summary()
        lines = [
            f"{sum(found['images'].values())} images: " + ", ".join(f"{k} {v}" for k, v in found["images"].items())
        ]
        lines += [f"  {' - '.join(p['datasets'])}: {p['pairs']} pairs by {p['evidence']}" for p in found["pairs"]]
        leaks, twice = found["leaks"], found["duplicates"]
        lines += [
            f"leaks ({self.split} split): {leaks['same_picture']} images show a picture of a stricter part, "
            f"{leaks['same_patient']} more a patient of the test",
            f"duplicates inside a dataset: {twice['exact']} exact, {twice['by_looks']} by looks",
            f"label conflicts: {found['label_conflicts']['pairs']} pairs of images",
        ]
        for item in sorted(found["label_conflicts"]["labels"], key=lambda item: -item["pictures"])[:10]:
            lines.append(f"  {item['pictures']:6d}  {item['present']} present, {item['absent']} absent")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images can't be read and were compared by origin and patient alone:")
            lines += [f"  {dataset}, {image}: {reason}" for dataset, image, reason in self.unreadable[:5]]
        return lines


def run_audit(
    manifests: Sequence[Manifest],
    *,
    cache: Path,
    split: str = "shared",
    pixels: bool = True,
    workers: int = 2,
    progress: bool = True,
) -> Audit:
    """Look for the same picture or patient in all rows.

    Args:
        manifests: of different datasets.
        cache: folder where hashes are kept.
        split: ``shared``, what a recipe of these datasets gets by default, or ``official``, the datasets' own.
        pixels: whether to read the images; otherwise declared origins, files and patients are all that is compared.
        workers: decoding threads.
        progress: whether to draw bars.

    Raises:
        ConfigError: two manifests of one dataset, or no such split.
    """
    names = [manifest.dataset for manifest in manifests]
    if len(set(names)) < len(names) or split not in SPLITS:
        twice = len(set(names)) < len(names)
        raise ConfigError(
            where="audit",
            problem="two manifests are of the same dataset" if twice else f"there is no split '{split}'",
            expected="one manifest per dataset" if twice else " or ".join(SPLITS),
            remedy="Index one of them under another name (option dataset)" if twice else "Correct the value",
        )
    hashes = _hashes(manifests, cache, workers, progress) if pixels else {}
    pairs = same_images(manifests, hashes, progress=progress_bar("comparing pairs") if progress and pixels else None)
    parts = _parts(manifests, split)
    conflicts = label_conflicts(manifests, pairs)
    leaking, patient_leaks = _leaks(manifests, pairs, parts)
    unreadable = [
        (m.dataset, m.table.column("image_id")[row].as_py(), reason)
        for m in manifests
        if m.dataset in hashes
        for row, reason in hashes[m.dataset].problems
    ]
    excluded = _excluded(manifests, pairs, parts, leaking)
    return Audit(manifests, split, parts, pairs, conflicts, excluded, patient_leaks, unreadable)


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write ``audit.json``, ``matches.csv``, ``conflicts.csv``, and for recipes ``exclude.csv`` and ``links.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    with write_text(folder / "audit.json") as file:
        json.dump(audit.summary(), file, indent=2)
        file.write("\n")
    tables = {
        "matches.csv": _matches(audit),
        "conflicts.csv": _conflict_table(audit),
        "exclude.csv": audit.excluded,
        "links.csv": _links(audit),
    }
    for name, table in tables.items():
        temporary = folder / f"{name}.part"
        pacsv.write_csv(table, temporary)
        temporary.replace(folder / name)
    return [folder / "audit.json", *(folder / name for name in tables)]


def _hashes(manifests: Sequence[Manifest], cache: Path, workers: int, progress: bool) -> dict[str, Hashes]:
    bars: dict[str, Callable[[int, int], None] | None] = {
        m.dataset: progress_bar(f"hashing {m.dataset}") if progress else None for m in manifests
    }
    return {m.dataset: hash_images(m, cache, workers=workers, progress=bars[m.dataset]) for m in manifests}


def _parts(manifests: Sequence[Manifest], split: str) -> Parts:
    if split == "official":
        columns = [pc.index_in(m.table.column("split"), pa.array(PARTS)).fill_null(-1) for m in manifests]
        return np.concatenate([np.asarray(column, dtype=np.int64) for column in columns])
    usual = SplitSection()
    found = assign_splits(
        manifests, seed=usual.seed, fractions=(usual.train, usual.val, usual.test), use_official=usual.use_official
    ).by_dataset
    numbers = [np.searchsorted(np.sort(PARTS), found[m.dataset]) for m in manifests]
    return np.argsort(PARTS)[np.concatenate(numbers)].astype(np.int64)


def _leaks(manifests: Sequence[Manifest], pairs: SameImages, parts: Parts) -> tuple[NDArray[np.bool_], Rows]:
    """Return the rows whose picture stands in a stricter part, and further rows whose patient is in the test."""
    strictest = _strictest(pairs.components(len(parts)), parts)
    leaking = (parts >= TRAIN) & (parts < strictest)
    of_patient = _strictest(linked_groups(manifests), parts)
    test = PARTS.index("test")
    return leaking, np.flatnonzero((parts >= TRAIN) & (parts < test) & (of_patient == test) & ~leaking)


def _strictest(group: Rows, parts: Parts) -> Parts:
    """Return the strictest part of each row's group; test is stricter than val, val than train."""
    best = np.full(int(group.max(initial=-1)) + 1, -1)
    np.maximum.at(best, group, parts)
    return best[group]


def _excluded(manifests: Sequence[Manifest], pairs: SameImages, parts: Parts, leaking: NDArray[np.bool_]) -> pa.Table:
    """Return the rows that recipes should leave out: leaks, then copies inside a dataset (all but the strictest)."""
    owner = _owner(manifests)
    a, b = pairs.first, pairs.second
    # both directions: a row and its partner
    row, partner = np.concatenate([a, b]), np.concatenate([b, a])
    at = np.concatenate([np.arange(len(pairs))] * 2)
    leak = leaking[row] & (parts[partner] > parts[row])
    later = (parts[partner] > parts[row]) | ((parts[partner] == parts[row]) & (partner < row))
    copy = (owner[row] == owner[partner]) & later & ~leaking[row]
    chosen = np.flatnonzero(leak | copy)
    order = chosen[np.lexsort((pairs.evidence[at[chosen]], row[chosen]))]
    order = order[np.unique(row[order], return_index=True)[1]]
    names = _Names(manifests)
    datasets, ids = names.of(row[order])
    with_dataset, with_id = names.of(partner[order])
    texts = [
        _evidence(pairs, int(pair), f"{dataset}/{image}", int(parts[other]))
        for pair, other, dataset, image in zip(at[order], partner[order], with_dataset, with_id, strict=True)
    ]
    by_looks = pairs.evidence[at[order]] == LOOKS
    reasons = np.where(leak[order], "leak", np.where(by_looks, "near_duplicate", "duplicate"))
    # a leak that is told by a chain of pairs alone is still one
    told = set(row[order].tolist())
    chained = np.array([r for r in np.flatnonzero(leaking).tolist() if r not in told], dtype=np.int64)
    more_datasets, more_ids = names.of(chained)
    return pa.table(
        {
            "dataset": datasets + more_datasets,
            "image_id": ids + more_ids,
            "reason": [*reasons.tolist(), *["leak"] * len(chained)],
            "evidence": [*texts, *["a copy of a copy in a stricter part"] * len(chained)],
        },
        schema=pa.schema([(name, pa.string()) for name in EXCLUDE]),
    )


def _evidence(pairs: SameImages, pair: int, partner: str, part: int) -> str:
    kind = EVIDENCE[pairs.evidence[pair]]
    score = f", similarity {pairs.similarity[pair]:.2f}" if kind == "looks" else ""
    flags = "".join(
        f", {word}" for word, flag in (("mirrored", pairs.mirrored), ("inverted", pairs.inverted)) if flag[pair]
    )
    return f"{_WORDS[kind]} {partner}{score}{flags}" + (f" ({PARTS[part]})" if part >= 0 else "")


def _matches(audit: Audit) -> pa.Table:
    names, pairs = _Names(audit.manifests), audit.pairs
    part_names = np.array([*PARTS, ""])
    columns: dict[str, Any] = {}
    for side, rows in (("a", pairs.first), ("b", pairs.second)):
        columns[f"dataset_{side}"], columns[f"image_{side}"] = names.of(rows)
        columns[f"part_{side}"] = part_names[audit.parts[rows]].tolist()
    columns["evidence"] = np.array(EVIDENCE)[pairs.evidence].tolist()
    columns["similarity"] = np.round(pairs.similarity, 3)
    columns["mirrored"], columns["inverted"] = pairs.mirrored, pairs.inverted
    return pa.table(columns)


def _conflict_table(audit: Audit) -> pa.Table:
    names = _Names(audit.manifests)
    columns = ("finding", "dataset_present", "image_present", "label_present", "dataset_absent", "image_absent")
    rows = []
    for c in audit.conflicts:
        for (dataset, image), (other, twin) in zip(
            zip(*names.of(c.positive), strict=True), zip(*names.of(c.negative), strict=True), strict=True
        ):
            rows.append((c.finding, dataset, image, c.positive_label, other, twin, c.negative_label))
    schema = pa.schema([(name, pa.string()) for name in (*columns, "label_absent")])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def _links(audit: Audit) -> pa.Table:
    """Return a link for every row that shows a picture with another row."""
    group = audit.pairs.components(len(audit.parts))
    shared = np.flatnonzero(np.bincount(group)[group] > 1) if len(group) else np.zeros(0, dtype=np.int64)
    datasets, ids = _Names(audit.manifests).of(shared)
    values = (datasets, ids, [f"picture {number}" for number in group[shared].tolist()])
    return pa.table(list(values), schema=pa.schema([(name, pa.string()) for name in LINKS]))


def _owner(manifests: Sequence[Manifest]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(manifests)), [len(manifest) for manifest in manifests])


class _Names:
    """Datasets and image ids of rows."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self._owner = _owner(manifests)
        self._datasets = [manifest.dataset for manifest in manifests]
        self._ids = pa.chunked_array([c for m in manifests for c in m.table.column("image_id").chunks], pa.string())

    def of(self, rows: Rows) -> tuple[list[str], list[str]]:
        return [self._datasets[at] for at in self._owner[rows]], self._ids.take(pa.array(rows)).to_pylist()
