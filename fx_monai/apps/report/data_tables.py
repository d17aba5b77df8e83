"""What the run was made from, as tables: data by split and class, contradicting labels, environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STATES = {
    "classification": ("present", "absent", "uncertain", "not_annotated"),
    "localization": ("number", "images", "not_annotated"),
    "segmentation": ("number", "images", "not_annotated"),
}
_WORDS = {"localization": "boxes", "segmentation": "masks"}


@dataclass(frozen=True)
class CountTable:
    """A table of plain values; the first ``texts`` columns are words."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    texts: int = 1


@dataclass(frozen=True)
class DatasetPart:
    """A dataset: what is known about it, and its annotations by class."""

    name: str
    about: Sequence[tuple[str, str]]
    classes: Sequence[CountTable]


def image_table(data: Mapping[str, Any]) -> CountTable:
    """Return images and patients of every dataset by split."""
    parts = ("train", "val", "test")
    rows = []
    for name, own in data["datasets"].items():
        counts = [own["splits"][part] for part in parts]
        cells = [f"{c['images']:,} / {'?' if c['patients'] is None else format(c['patients'], ',')}" for c in counts]
        rows.append((name, *cells, f"{sum(c['images'] for c in counts):,}", f"{own['left_out']:,}"))
    header = ("dataset", *(f"{part}: images / patients" for part in parts), "images in all", "left out")
    return CountTable("Images and patients", header, rows)


def dataset_parts(data: Mapping[str, Any]) -> list[DatasetPart]:
    """Return every dataset with its annotations by class and split."""
    return [
        DatasetPart(
            name,
            [(word, own[word]) for word in ("title", "licence", "citation", "url") if own[word]],
            [_class_table(kind, own["splits"]) for kind in _STATES if kind in own["splits"]["train"]["classes"]],
        )
        for name, own in data["datasets"].items()
    ]


def conflict_table(conflicts: Sequence[Mapping[str, Any]]) -> CountTable:
    """Return how often a label of one dataset contradicts another's on the same picture, most frequent first."""
    rows = [
        (
            own["finding"] or "-",
            f"{own['present_dataset']}: {own['present_label']}",
            f"{own['absent_dataset']}: {own['absent_label']}",
            own["pictures"],
            own["both_present"],
            f"{100 * own['pictures'] / (own['pictures'] + own['both_present']):.0f} %",
        )
        for own in sorted(conflicts, key=lambda own: -own["pictures"])
    ]
    header = ("finding", "present in", "absent in", "pictures that contradict", "both present", "share")
    return CountTable("Contradictions by label", header, rows, texts=3)


def conflict_matrix(conflicts: Sequence[Mapping[str, Any]]) -> CountTable:
    """Return the same summed by dataset: which says present (rows), which says absent (columns)."""
    counts = Counter[tuple[str, str]]()
    for own in conflicts:
        counts[own["present_dataset"], own["absent_dataset"]] += own["pictures"]
    names = list(dict.fromkeys(name for pair in counts for name in pair))
    rows = [(f"{row} says present", *(counts.get((row, column), "") for column in names)) for row in names]
    return CountTable("Contradictions by dataset", ("", *(f"{name} says absent" for name in names)), rows)


def _class_table(kind: str, splits: Mapping[str, Any]) -> CountTable:
    states = _STATES[kind]
    header = ["class", "split", *(_WORDS[kind] if s == "number" else s.replace("_", " ") for s in states)]
    rows = [
        (label, part, *(f"{splits[part]['classes'][kind][label][state]:,}" for state in states))
        for label in splits["train"]["classes"][kind]
        for part in splits
    ]
    return CountTable(kind.capitalize(), header, rows, texts=2)
