"""Rows of a run as points of MLflow's curves. Names sort by split, dataset, kind, metric and model.

The run of a training has ``val/<dataset>/<kind>/<metric>/<model>`` over cycles, with means over tasks under the dataset
``mean``, and ``train/<dataset>/<kind>/<mode>/<loss>`` over optimiser steps. The run of one task has the same without
dataset and kind, so that tasks share a chart, and every score of the tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from fx_monai.engine.evaluator import FOLLOWED
from fx_monai.metrics.scores import primary_metric
from fx_monai.tracking.names import entry_name
from fx_monai.types import Kind, Task

Row = dict[str, Any]

_MEAN = "mean"
_ALL = "all"
_PRIMARY = "primary"
_NO_LOSS = ("seconds", "teacher_initial_weight")


class Point(NamedTuple):
    """One point of a curve."""

    name: str
    value: float
    step: int


def loss_points(rows: Sequence[Row], task: Task | None) -> list[Point]:
    """Return the losses of phases.

    Args:
        rows: see :attr:`fx_monai.engine.history.History.phases`.
        task: whose run it is; None = the run of the training.
    """
    points = []
    for row in rows:
        losses = {k: v for k, v in row.items() if isinstance(v, float) and k not in _NO_LOSS}
        if task is None:
            prefix = f"train/{row['dataset']}/{row['kind']}/{row['mode']}"
            if "teacher_initial_weight" in row:
                points.append(Point("teacher/initial_weight", row["teacher_initial_weight"], row["step"]))
        elif _of(row, task):
            prefix = f"train/{row['mode']}"
        else:
            continue
        points += [Point(entry_name(f"{prefix}/{name}"), value, row["step"]) for name, value in losses.items()]
    return _finite(points)


def score_points(rows: Sequence[Row], task: Task | None) -> list[Point]:
    """Return scores over cycles; subgroups (``auc_macro@PA``) stay in the tables.

    Args:
        rows: see :attr:`fx_monai.engine.history.History.scores`, and rows of the test split with their cycle; whole
            cycles, since means are taken over what is there.
        task: whose run it is; None = the run of the training, which has the scores that are followed in a training,
            and none of single classes.
    """
    rows = [row for row in rows if "@" not in row["metric"]]
    if task is not None:
        return _finite([point for row in rows if _of(row, task) for point in _task_points(row)])
    overall = [row for row in rows if row["metric"] in FOLLOWED]
    return _finite(
        [
            Point(entry_name(f"{r['split']}/{r['dataset']}/{r['kind']}/{r['metric']}/{r['model']}"), r["value"], cycle)
            for r in [*overall, *_means(overall)]
            for cycle in [r["cycle"]]
        ]
    )


def _task_points(row: Row) -> Iterator[Point]:
    name = f"{row['split']}/{row['metric']}/{row['model']}"
    yield Point(entry_name(name), row["value"], row["cycle"])
    if "/" not in row["metric"]:
        # the ends of the 95 % interval, where there is one
        for end in ("low", "high"):
            yield Point(entry_name(f"{name}_{end}"), row.get(end, math.nan), row["cycle"])


def _means(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the mean primary metric over tasks, per kind and over all, which weights are selected by."""

    def key(row: Row) -> tuple[int, str, str]:
        return row["cycle"], row["split"], row["model"]

    primary = [r for r in rows if r["metric"] == primary_metric(Kind(r["kind"])) and math.isfinite(r["value"])]
    for (cycle, split, model), group in groupby(sorted(primary, key=key), key):
        own = list(group)
        kinds = {kind.value: [r["value"] for r in own if r["kind"] == kind.value] for kind in Kind}
        for kind, values in {**kinds, _ALL: [r["value"] for r in own]}.items():
            if values:
                metric = _PRIMARY if kind == _ALL else primary_metric(Kind(kind))
                yield {
                    "cycle": cycle,
                    "split": split,
                    "model": model,
                    "dataset": _MEAN,
                    "kind": kind,
                    "metric": metric,
                    "value": sum(values) / len(values),
                }


def _of(row: Row, task: Task) -> bool:
    return row["dataset"] == task.dataset and row["kind"] == task.kind.value


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point.value)]
