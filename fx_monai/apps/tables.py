"""Result rows as Markdown and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fx_monai.files import write_text

Row = Mapping[str, Any]

COLUMNS = {
    "classification": ("auc_macro",),
    "localization": ("ap40", "ap50", "ap50_95", "box_iou"),
    "segmentation": ("dice_all", "dice_positive"),
}
TITLES = {
    "auc_macro": "AUC",
    "ap40": "AP@0.4",
    "ap50": "AP@0.5",
    "ap50_95": "AP@[.5:.95]",
    "box_iou": "box IoU",
    "dice_all": "Dice (all)",
    "dice_positive": "Dice (positive)",
}


def score_table(rows: Sequence[Row], *, models: Sequence[str]) -> str:
    """Return one Markdown table per kind: a line per dataset, a column per metric with one value for each model."""
    blocks = []
    for kind, metrics in COLUMNS.items():
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        values = {(row["dataset"], row["model"], row["metric"]): row["value"] for row in own}
        images = {row["dataset"]: row["images"] for row in own if "@" not in row["metric"]}
        header = [f"{kind} ({' / '.join(models)})", "images", *(TITLES[metric] for metric in metrics)]
        lines = [
            [
                name,
                str(images[name]),
                *(" / ".join(number(values.get((name, model, metric))) for model in models) for metric in metrics),
            ]
            for name in images
        ]
        blocks.append(markdown(header, lines))
    return "\n\n".join(blocks)


def seed_table(runs: Sequence[Sequence[Row]], *, models: Sequence[str]) -> str:
    """Return one Markdown table per kind with ``mean ± standard deviation`` over runs: a line per dataset and model."""
    blocks = []
    for kind, metrics in COLUMNS.items():
        found = [{(r["dataset"], r["model"], r["metric"]): r for r in run if r["kind"] == kind} for run in runs]
        datasets = list(dict.fromkeys(dataset for run in found for dataset, _, _ in run))
        lines = []
        for dataset in datasets:
            for model in models:
                values = [[run.get((dataset, model, m), {}).get("value") for run in found] for m in metrics]
                images = next(run[dataset, model, metrics[0]]["images"] for run in found)
                lines.append([dataset, model, str(images), *(mean_and_spread(v) for v in values)])
        if lines:
            blocks.append(markdown([kind, "model", "images", *(TITLES[m] for m in metrics)], lines))
    return "\n\n".join(blocks)


def mean_line(runs: Sequence[Sequence[Row]], *, model: str, kind: str, metric: str) -> str:
    """Return ``mean ± standard deviation`` over runs of the mean over datasets of one metric."""
    means = []
    for run in runs:
        values = [r["value"] for r in run if (r["model"], r["kind"], r["metric"]) == (model, kind, metric)]
        defined = [v for v in values if v is not None and not math.isnan(v)]
        means.append(sum(defined) / len(defined) if defined else None)
    return mean_and_spread(means)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table."""
    widths = [max(len(row[i]) for row in [header, *lines]) for i in range(len(header))]
    shown = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, *lines]]
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(row) + " |" for row in [shown[0], rule, *shown[1:]])


def number(value: float | None) -> str:
    """Return a score with three decimals, "n/a" where it isn't defined."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def mean_and_spread(values: Sequence[float | None]) -> str:
    """Return ``mean ± standard deviation`` (n - 1) of the defined values, "n/a" when none is."""
    defined = [v for v in values if v is not None and not math.isnan(v)]
    if not defined:
        return "n/a"
    mean = sum(defined) / len(defined)
    if len(defined) == 1:
        return f"{mean:.3f}"
    spread = math.sqrt(sum((v - mean) ** 2 for v in defined) / (len(defined) - 1))
    return f"{mean:.3f} ± {spread:.3f}"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows with the union of their keys as columns; no rows, no file."""
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with write_text(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
