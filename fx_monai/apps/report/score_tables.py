"""Score rows as tables of the page: text, interval and a bar for every score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fx_monai.apps.tables import ScoreLines, number, title_of

_FALLING = ("brier", "ece", "hd95")
_UNBOUNDED = ("hd95",)


@dataclass(frozen=True)
class Metric:
    """A column: what it is called, whether lower is better."""

    title: str
    falling: bool


@dataclass(frozen=True)
class Cell:
    """A score: its text, its interval "low-high", and per cent of low, high and value on a scale from 0 to 1."""

    text: str
    interval: str = ""
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line: names, images, scores; ``first`` of its dataset."""

    names: Sequence[str]
    images: int
    cells: Sequence[Cell]
    first: bool


@dataclass(frozen=True)
class ScoreTable:
    """A table of one kind of task."""

    caption: str
    names: Sequence[str]
    metrics: Sequence[Metric]
    lines: Sequence[Line]


def score_tables(lines: ScoreLines, names: Sequence[str]) -> list[ScoreTable]:
    """Return one table per kind; ``names`` head the columns before the scores."""
    return [
        ScoreTable(
            kind.capitalize(),
            names,
            [Metric(title_of(metric), metric.startswith(_FALLING)) for metric in metrics],
            _body(metrics, found),
        )
        for kind, (metrics, found) in lines.items()
    ]


def _body(metrics: Sequence[str], found: Mapping[tuple[str, ...], Mapping[str, Any]]) -> list[Line]:
    lines: list[Line] = []
    for key, own in sorted(found.items(), key=lambda item: _place(item[0], found)):
        first = not lines or lines[-1].names[0] != key[0]
        images = next(iter(own.values()))["images"]
        lines.append(Line(key, images, [cell_of(metric, own.get(metric)) for metric in metrics], first))
    return lines


def _place(key: tuple[str, ...], found: Mapping[tuple[str, ...], Any]) -> tuple[int, bool]:
    """Keep the order of datasets and classes, the selected model first."""
    return next(n for n, other in enumerate(found) if other[:-1] == key[:-1]), key[-1] != "selected"


def cell_of(metric: str, row: Mapping[str, Any] | None) -> Cell:
    """Return the cell of a score row, None = not measured."""
    if row is None:
        return Cell("-")
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    if value is None or low is None or high is None or math.isnan(low):
        return Cell(number(value))
    digits = 1 if metric.startswith(_UNBOUNDED) else 2
    interval = f"{low:.{digits}f}-{high:.{digits}f}"
    if metric.startswith(_UNBOUNDED):
        return Cell(f"{value:.1f}", interval)
    low_at, high_at, at = (round(100 * min(max(own, 0.0), 1.0), 1) for own in (low, high, value))
    return Cell(number(value), interval, (low_at, high_at, at))
