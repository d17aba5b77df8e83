"""Focused and unfocused curves, as in the paper: a task right after it was trained, and after the others were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fx_monai.apps.report.plots import LegendEntry, Panel, new_axes, series, to_svg
from fx_monai.apps.tables import number, title_of
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Task

Row = Mapping[str, Any]
Points = list[tuple[float, float]]

FOCUSED, UNFOCUSED = 2, 3


def focus_panels(
    tasks: Sequence[Task], validation: Sequence[Row], after_task: Sequence[Row], phases: Sequence[Row], *, model: str
) -> list[Panel]:
    """Return one panel per task that was scored both ways.

    Args:
        tasks: to draw.
        validation: rows of the evaluations at the end of cycles.
        after_task: rows of the evaluations after tasks, with ``after``.
        phases: rows of the phases, which tell the last task of a cycle.
        model: student or teacher.
    """
    ends = {row["cycle"]: row["step"] for row in phases}
    panels = []
    for task in tasks:
        focused, unfocused = focus_points(task, validation, after_task, phases, model=model)
        if not focused or not unfocused:
            continue
        figure, (axes,) = new_axes((3.8, 2.6))
        legend = []
        for index, name, points in ((UNFOCUSED, "unfocused", unfocused), (FOCUSED, "focused", focused)):
            xs, ys = zip(*points, strict=True)
            style = "-o" if index == FOCUSED else "--s"
            face = series(index) if index == FOCUSED else "none"
            axes.plot(xs, ys, style, color=series(index), markerfacecolor=face, markersize=5, clip_on=False)
            legend.append(LegendEntry(index, name, f"{number(ys[0])} to {number(ys[-1])}"))
        axes.set(ylim=(-0.02, 1.02), ylabel=title_of(primary_metric(task.kind)), xlabel="cycle (its end)")
        axes.set_xticks([ends[cycle] for cycle in sorted(ends)], [f"{cycle:.0f}" for cycle in sorted(ends)])
        axes.set_xlim(0, max(ends.values()))
        said = "; ".join(f"{own.name} {own.value}" for own in legend)
        panels.append(Panel(str(task), to_svg(figure, f"{task}, {model}, validation by cycle: {said}"), legend))
    return panels


def focus_points(
    task: Task, validation: Sequence[Row], after_task: Sequence[Row], phases: Sequence[Row], *, model: str
) -> tuple[Points, Points]:
    """Return (step, primary metric) of a task where it was the last to be trained, and where another was."""
    last = {row["cycle"]: f"{row['dataset']}/{row['kind']}" for row in phases}
    rows = [(row["after"], row) for row in after_task]
    rows += [(last.get(row["cycle"], ""), row) for row in validation]
    # the last task of a cycle is scored twice at one step, with one result
    found: dict[bool, dict[float, float]] = {True: {}, False: {}}
    key = (task.dataset, task.kind.value, model, primary_metric(task.kind))
    for after, row in rows:
        own = tuple(row[name] for name in ("dataset", "kind", "model", "metric"))
        if own == key and not math.isnan(row["value"]):
            found[after == str(task)][row["step"]] = row["value"]
    return sorted(found[True].items()), sorted(found[False].items())
