"""Curves over the training: validation scores and losses of every task, with its phases shaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from fx_monai.apps.report.plots import INK, MUTED, LegendEntry, Panel, new_axes, series, to_svg
from fx_monai.apps.tables import number, title_of
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Mode, Task

Row = Mapping[str, Any]

LINES = {"student": (series(1), "--"), "teacher": (series(0), "-")}
FOCUSED, UNFOCUSED = series(2), MUTED


@dataclass(frozen=True)
class PhaseSpan:
    """A phase of a task on the axis of steps: it began after ``start`` and ended with ``end``."""

    start: float
    end: float
    mode: Mode
    loss: float


def phase_spans(phases: Sequence[Row]) -> dict[Task, list[PhaseSpan]]:
    """Return the phases of every task.

    Args:
        phases: rows of ``phases.csv``: phase_number, dataset, kind, mode, step (the last of the phase), task_loss.
    """
    ends: dict[float, float] = {row["phase_number"]: row["step"] for row in phases}
    starts = dict(zip(sorted(ends), [0.0, *(ends[n] for n in sorted(ends))], strict=False))
    spans: dict[Task, list[PhaseSpan]] = {}
    for row in phases:
        own = PhaseSpan(starts[row["phase_number"]], row["step"], Mode(row["mode"]), row["task_loss"])
        spans.setdefault(Task(row["dataset"], row["kind"]), []).append(own)
    return spans


def learning_panels(
    tasks: Sequence[Task], validation: Sequence[Row], phases: Sequence[Row], *, selected_cycle: int = 0
) -> list[Panel]:
    """Return one panel per task: above the primary metric on validation, below the loss of the task's own phases.

    Args:
        tasks: to draw.
        validation: rows with step, cycle, dataset, kind, model, metric, value.
        phases: see :func:`phase_spans`.
        selected_cycle: its end is marked; 0 = none.
    """
    spans = phase_spans(phases)
    ends = {row["cycle"]: row["step"] for row in phases}
    end = max(ends.values(), default=0)
    panels = []
    for task in tasks:
        curves = task_curves(task, validation)
        if not curves and task not in spans:
            continue
        figure, (above, below) = new_axes((4.4, 3.2), rows=(2, 1))
        for axes in (above, below):
            _shade(axes, spans.get(task, ()))
        if selected_cycle in ends:
            above.axvline(ends[selected_cycle], color=INK, linewidth=0.8, linestyle=":")
        for model, (steps, values) in curves.items():
            colour, style = LINES.get(model, (series(3), "-"))
            above.plot(steps, values, style, color=colour, marker="o", markersize=4, clip_on=False)
        for mode, style in ((Mode.LOCK, ":"), (Mode.RELEASE, "-")):
            own = [span for span in spans.get(task, ()) if span.mode is mode]
            middles = [(span.start + span.end) / 2 for span in own]
            below.plot(middles, [span.loss for span in own], style, color=INK, marker=".", linewidth=1)
        above.set(ylim=(-0.02, 1.02), ylabel=title_of(primary_metric(task.kind)))
        below.set(xlim=(0, end), xlabel="step", ylabel="loss")
        below.set_ylim(bottom=0)
        legend = [
            LegendEntry(1 if model == "student" else 0, model, f"{number(values[0])} to {number(values[-1])}")
            for model, (_, values) in curves.items()
        ]
        said = "; ".join(f"{own.name} {own.value}" for own in legend) or "no validation score"
        alt = f"{task}: {title_of(primary_metric(task.kind))} on validation, {said}; below the training loss by phase"
        panels.append(Panel(str(task), to_svg(figure, alt), legend))
    return panels


def task_curves(task: Task, rows: Sequence[Row]) -> dict[str, tuple[list[float], list[float]]]:
    """Return steps and values of a task's primary metric by model, undefined ones left out."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        own = (row["dataset"], row["kind"], row["metric"])
        if own == (task.dataset, task.kind.value, primary_metric(task.kind)) and not math.isnan(row["value"]):
            steps, values = curves.setdefault(row["model"], ([], []))
            steps.append(row["step"])
            values.append(row["value"])
    return curves


def _shade(axes: Axes, spans: Sequence[PhaseSpan]) -> None:
    for span in spans:
        if span.mode is Mode.RELEASE:
            axes.axvspan(span.start, span.end, color=series(0), alpha=0.22, linewidth=0)
        else:
            axes.axvspan(span.start, span.end, color=MUTED, alpha=0.4, linewidth=0)
