"""What a few-shot study found: points with intervals, Markdown table, files, curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fx_monai.apps.tables import TITLES, markdown, with_difference, with_interval, write_csv, write_json
from fx_monai.files import write_text
from fx_monai.inference.overlay import COLOURS
from fx_monai.metrics.resampling import student_interval
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Kind

Row = Mapping[str, Any]
Line = tuple[str, str]
"""Start and mode."""

LEGEND = (
    "Means over draws of the test split's score; in brackets 95 % intervals: Student's over draws, or, of a single "
    "draw, by bootstrap over patients. Differences are paired by draw, which gives both the same training images; * = "
    "the interval doesn't hold 0. n shots: n training patients with (and, for image-level labels, n without) each "
    "class; larger subsets hold the smaller ones. Validation and test are whole at every point."
)


@dataclass(frozen=True)
class Point:
    """The draws of one task, start, mode and subset.

    Args:
        patients: mean number of training patients.
        by_draw: draw -> row of the primary metric.
    """

    patients: float
    by_draw: Mapping[int, Row]

    @property
    def row(self) -> dict[str, Any]:
        """``value``, ``low`` and ``high`` over the draws; scores end at 0 and 1, and so do their intervals."""
        values = [value_of(row) for row in self.by_draw.values()]
        if len(values) == 1:
            return dict(next(iter(self.by_draw.values())))
        low, high = student_interval(values)
        # in this order an undefined end stays NaN
        return {"value": _mean(values), "low": max(low, 0.0), "high": min(high, 1.0)}

    def minus(self, other: Point) -> dict[str, Any]:
        """``difference`` from another point over the draws that both have, with its interval."""
        pairs = [(value_of(row), value_of(other.by_draw[k])) for k, row in self.by_draw.items() if k in other.by_draw]
        differences = [a - b for a, b in pairs]
        low, high = student_interval(differences)
        return {"difference": _mean(differences), "difference_low": low, "difference_high": high}


def value_of(row: Row) -> float:
    """Return a row's value, NaN where a file says null."""
    return math.nan if row["value"] is None else float(row["value"])


def points(rows: Sequence[Row]) -> dict[tuple[str, str], dict[Line, dict[str, Point]]]:
    """Return the points of a study: (dataset, kind) -> (start, mode) -> subset."""
    found: dict[tuple[str, str], dict[Line, dict[str, list[Row]]]] = {}
    for row in rows:
        if row["metric"] == primary_metric(Kind(row["kind"])):
            lines = found.setdefault((row["dataset"], row["kind"]), {})
            lines.setdefault((row["start"], row["mode"]), {}).setdefault(row["subset"], []).append(row)
    return {
        task: {
            line: {
                subset: Point(_mean([row["training_patients"] for row in own]), {row["draw"]: row for row in own})
                for subset, own in by_subset.items()
            }
            for line, by_subset in lines.items()
        }
        for task, lines in found.items()
    }


def few_shot_page(rows: Sequence[Row]) -> str:
    """Return one Markdown table per task, and how to read it."""
    blocks = []
    for (dataset, kind), lines in points(rows).items():
        first = next(iter(lines))[0]
        metric = TITLES[primary_metric(Kind(kind))]
        rivals = [(own, (first, own[1])) for own in lines if own[0] != first and (first, own[1]) in lines]
        header = [f"{dataset}/{kind}: {metric}", "patients", *(f"{start} ({mode})" for start, mode in lines)]
        header += [f"{first} - {start} ({mode})" for (start, mode), _ in rivals]
        body = []
        for subset in dict.fromkeys(subset for by_subset in lines.values() for subset in by_subset):
            own = {line: by_subset[subset] for line, by_subset in lines.items() if subset in by_subset}
            cells = [with_interval(own[line].row if line in own else None) for line in lines]
            cells += [
                with_difference(own[base].minus(own[rival]) if rival in own and base in own else None)
                for rival, base in rivals
            ]
            body.append([subset, f"{next(iter(own.values())).patients:.0f}", *cells])
        blocks.append(markdown(header, body))
    return "\n\n".join([*blocks, LEGEND]) + "\n"


def few_shot_curve(rows: Sequence[Row]) -> Figure:
    """Return the scores against the number of training patients: a panel per task, a line per start and mode."""
    tasks = points(rows)
    figure = Figure(figsize=(5.6 * len(tasks), 4.2), layout="constrained")
    for axes, ((dataset, kind), lines) in zip(
        figure.subplots(1, len(tasks), squeeze=False)[0], tasks.items(), strict=True
    ):
        starts = list(dict.fromkeys(start for start, _ in lines))
        modes = list(dict.fromkeys(mode for _, mode in lines))
        for (start, mode), by_subset in lines.items():
            own = sorted(by_subset.values(), key=lambda point: point.patients)
            colour = tuple(value / 255 for value in COLOURS[starts.index(start) % len(COLOURS)])
            x, found = [point.patients for point in own], [point.row for point in own]
            style = ("-o", "--s", ":^", "-.d")[modes.index(mode) % 4]
            axes.plot(x, [row["value"] for row in found], style, color=colour, label=f"{start}, {mode}", markersize=4)
            ends = [[row[end] if row[end] is not None else math.nan for row in found] for end in ("low", "high")]
            axes.fill_between(x, *ends, color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        ticks = sorted({round(point.patients) for by_subset in lines.values() for point in by_subset.values()})
        axes.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=7)
        axes.minorticks_off()
        metric = TITLES[primary_metric(Kind(kind))]
        axes.set(title=f"{dataset}/{kind}", xlabel="training patients", ylabel=f"{metric} on test")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, frameon=False)
    return figure


def write_few_shot(rows: Sequence[Row], folder: Path, *, about: Mapping[str, Any]) -> list[Path]:
    """Write ``few_shot.md``, ``.csv``, ``.json`` and ``.png``; return the paths."""
    with write_text(folder / "few_shot.md") as file:
        file.write(few_shot_page(rows))
    write_csv(rows, folder / "few_shot.csv")
    write_json({**about, "rows": rows}, folder / "few_shot.json")
    few_shot_curve(rows).savefig(folder / "few_shot.png", dpi=120)
    return [folder / f"few_shot.{suffix}" for suffix in ("md", "csv", "json", "png")]


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
