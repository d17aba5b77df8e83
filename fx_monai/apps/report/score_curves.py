"""ROC, precision-recall, reliability and FROC curves of every task, from the stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from fx_monai.apps.report.plots import MUTED, LegendEntry, Panel, dash, new_axes, series, to_svg
from fx_monai.apps.report.run_folder import RunFolder
from fx_monai.apps.tables import with_interval
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.curves import Curve, froc_curve, precision_recall_curve, reliability_curve, roc_curve
from fx_monai.metrics.froc import RATES
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.types import Task

_RATE_LABELS = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def curve_panels(run: RunFolder) -> dict[str, list[Panel]]:
    """Return the panels of every dataset whose tasks have curves, one series per class."""
    panels: dict[str, list[Panel]] = {}
    for task, stored in run.predictions.items():
        for make in _MAKERS.get(type(stored.scores), ()):
            for panel in make(run, task, stored.scores):
                panels.setdefault(task.dataset, []).append(panel)
    return panels


def _roc(run: RunFolder, task: Task, scores: TaskScores) -> Iterator[Panel]:
    def frame(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")

    assert isinstance(scores, ClassificationScores)
    ranked = scores.probs if scores.spec.exclusive else scores.logits
    curves = [roc_curve(ranked[:, k], scores.labels[:, k]) for k in range(ranked.shape[1])]
    yield from _panel("ROC", "AUC", run, task, scores, curves, frame, metric="auc", draw="steps-post")


def _precision_recall(run: RunFolder, task: Task, scores: TaskScores) -> Iterator[Panel]:
    def frame(axes: Axes) -> None:
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")

    assert isinstance(scores, ClassificationScores)
    ranked = scores.probs if scores.spec.exclusive else scores.logits
    found = [precision_recall_curve(ranked[:, k], scores.labels[:, k]) for k in range(ranked.shape[1])]
    # the first precision holds back to recall 0
    curves = [own and Curve(np.append(0, own.x), np.append(own.y[0], own.y)) for own in found]
    yield from _panel("Precision-recall", "AP", run, task, scores, curves, frame, metric="ap", draw="steps-pre")


def _reliability(run: RunFolder, task: Task, scores: TaskScores) -> Iterator[Panel]:
    def frame(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
        axes.set(xlabel="probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")

    assert isinstance(scores, ClassificationScores)
    fitted = scores.calibration is not None and any(scores.calibration.temperatures)
    probs = scores.calibrated if fitted else scores.probs
    curves = [reliability_curve(probs[:, k], scores.labels[:, k], bins=10) for k in range(probs.shape[1])]
    metric = "ece_calibrated" if fitted else "ece"
    title = "Calibration (scaled)" if fitted else "Calibration (raw)"
    yield from _panel(title, "ECE", run, task, scores, curves, frame, metric=metric, draw="default", marker="o")


def _froc(run: RunFolder, task: Task, scores: TaskScores) -> Iterator[Panel]:
    def frame(axes: Axes) -> None:
        axes.set_xscale("log", base=2)
        axes.set(xlabel="false boxes per image", ylabel="sensitivity", xlim=(RATES[0], RATES[-1]), ylim=(0, 1.01))
        axes.set_xticks(RATES, _RATE_LABELS)

    assert isinstance(scores, LocalizationScores)
    found = [froc_curve(own) for own in scores.matches]
    # more false boxes than there are leave the sensitivity as it is
    curves = [own and Curve(np.append(own.x, max(own.x[-1], RATES[-1])), np.append(own.y, own.y[-1])) for own in found]
    yield from _panel("FROC", "CPM", run, task, scores, curves, frame, metric="cpm", draw="steps-post")


_Maker = Callable[[RunFolder, Task, TaskScores], Iterator[Panel]]
_MAKERS: dict[type[TaskScores], Sequence[_Maker]] = {
    ClassificationScores: (_roc, _precision_recall, _reliability),
    LocalizationScores: (_froc,),
}


def _panel(
    title: str,
    measure: str,
    run: RunFolder,
    task: Task,
    scores: TaskScores,
    curves: Sequence[Curve | None],
    frame: Callable[[Axes], None],
    *,
    metric: str,
    draw: str,
    marker: str = "",
) -> Iterator[Panel]:
    drawn = [(k, curve) for k, curve in enumerate(curves) if curve is not None and len(curve.x)]
    if not drawn:
        return
    figure, (axes,) = new_axes((3.3, 3.1))
    frame(axes)
    legend = []
    for k, curve in drawn:
        thin = curve.thinned()
        axes.plot(thin.x, thin.y, dash(k), color=series(k), drawstyle=draw, marker=marker, markersize=3.5)
        name = scores.spec.classes[k]
        value = with_interval(run.row(task, run.models[0], f"{metric}/{name}"))
        legend.append(LegendEntry(k, name, f"{measure} {value}"))
    said = "; ".join(f"{own.name} {own.value}" for own in legend)
    yield Panel(title, to_svg(figure, f"{title} of {task}: {said}"), legend)
