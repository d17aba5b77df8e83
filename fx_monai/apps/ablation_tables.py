"""The tables of the ablation: every arm over seeds, its difference from the full method, and every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from fx_monai.apps.tables import TITLES, markdown, mean_and_spread
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Kind

Row = dict[str, Any]
Scores = Mapping[str, float | None]
"""Score by dataset, None where it isn't defined."""

FULL = "full method"
MODELS = {"selected": "selected on validation", "student": "final student"}


def ablation_tables(rows: Sequence[Row]) -> str:
    """Return Markdown tables: per kind the mean over datasets, how far an arm is from the full method, every task.

    Numbers are mean ± standard deviation (n - 1) over seeds. A difference is taken within a seed and a dataset, so
    what they have in common drops out.

    Args:
        rows: primary scores with ``arm``, ``seed``, ``dataset``, ``kind``, ``model``, ``value``, ``images``.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    blocks = []
    for model, title in MODELS.items():
        own = [row for row in rows if row["model"] == model]
        lines = [[arm, str(len(_seeds(own, arm))), *_by_kind(own, arm, _mean)] for arm in arms]
        blocks.append(markdown([f"mean over datasets, {title}", "seeds", *_titles()], lines))
        lines = [[arm, *_by_kind(own, arm, _mean_difference)] for arm in arms if arm != FULL]
        blocks.append(markdown([f"minus the {FULL}, {title}", *_titles()], lines))
    blocks.append(_every_task([row for row in rows if row["model"] == "selected"], arms))
    return "\n\n".join(blocks)


def _every_task(rows: Sequence[Row], arms: Sequence[str]) -> str:
    lines = []
    for kind in Kind:
        images = {row["dataset"]: row["images"] for row in rows if row["kind"] == kind.value}
        for dataset, count in images.items():
            values = [[_scores(rows, arm, seed, kind).get(dataset) for seed in _seeds(rows, arm)] for arm in arms]
            title = TITLES[primary_metric(kind)]
            lines.append([f"{dataset}/{kind.value}", title, str(count), *map(mean_and_spread, values)])
    return markdown([f"task, {MODELS['selected']}", "metric", "images", *arms], lines)


def _titles() -> list[str]:
    return [TITLES[primary_metric(kind)] for kind in Kind]


def _by_kind(rows: Sequence[Row], arm: str, summary: Callable[[Scores, Scores], float | None]) -> list[str]:
    """Return, per kind, mean and spread over seeds of a summary of the arm's scores and those of the full method."""
    return [
        mean_and_spread(
            [summary(_scores(rows, arm, seed, kind), _scores(rows, FULL, seed, kind)) for seed in _seeds(rows, arm)]
        )
        for kind in Kind
    ]


def _mean(own: Scores, full: Scores) -> float | None:
    values = [value for value in own.values() if value is not None]
    return fmean(values) if values else None


def _mean_difference(own: Scores, full: Scores) -> float | None:
    pairs = ((value, full.get(dataset)) for dataset, value in own.items())
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    return fmean(differences) if differences else None


def _seeds(rows: Sequence[Row], arm: str) -> list[int]:
    return list(dict.fromkeys(row["seed"] for row in rows if row["arm"] == arm))


def _scores(rows: Sequence[Row], arm: str, seed: int, kind: Kind) -> Scores:
    chosen = (row for row in rows if (row["arm"], row["seed"], row["kind"]) == (arm, seed, kind.value))
    return {row["dataset"]: row["value"] for row in chosen}
