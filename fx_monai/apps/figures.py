"""Pictures: contact sheets, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from fx_monai.inference.overlay import COLOURS
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Kind


def contact_sheet(tiles: Sequence[Image.Image], columns: int, *, side: int = 256) -> Image.Image:
    """Return the pictures in a grid, each scaled to fit a square of the given side."""
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "black")
    for number, tile in enumerate(tiles):
        small = tile.convert("RGB")
        small.thumbnail((side, side))
        left, top = (number % columns) * side, (number // columns) * side
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
    return sheet


def learning_curves(scores: Sequence[Mapping[str, Any]]) -> Figure:
    """Return validation curves: one panel per kind, one line per dataset, student dashed, teacher solid.

    Args:
        scores: rows with cycle, dataset, kind, model, metric, value.
    """
    kinds = [kind for kind in Kind if any(row["kind"] == kind.value for row in scores)]
    figure = Figure(figsize=(5.2 * max(1, len(kinds)), 4.0), layout="constrained")
    datasets = list(dict.fromkeys(row["dataset"] for row in scores))
    for axes, kind in zip(figure.subplots(1, max(1, len(kinds)), squeeze=False)[0], kinds, strict=False):
        metric = primary_metric(kind)
        for number, dataset in enumerate(datasets):
            colour = tuple(value / 255 for value in COLOURS[number % len(COLOURS)])
            for model, style in (("student", "--"), ("teacher", "-")):
                own = [
                    r
                    for r in scores
                    if (r["dataset"], r["kind"], r["model"], r["metric"]) == (dataset, kind.value, model, metric)
                ]
                if own:
                    axes.plot(
                        [r["cycle"] for r in own],
                        [r["value"] for r in own],
                        style,
                        color=colour,
                        label=f"{dataset} {model}",
                        linewidth=1.5,
                    )
        axes.set(title=f"{kind.value}: {metric} on validation", xlabel="cycle", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, frameon=False)
    return figure
