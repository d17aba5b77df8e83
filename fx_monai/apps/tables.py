"""Result rows as Markdown and CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fx_monai.files import write_text

Row = Mapping[str, Any]
_Key = tuple[str, ...]
ScoreLines = dict[str, tuple[Sequence[str], dict[_Key, dict[str, Row]]]]
"""Per kind: the metrics that occur, and by the names of each line its rows by metric."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "classification": ("auc_macro", "ap_macro", "brier_macro", "ece_macro", "ece_calibrated"),
    "localization": ("ap40", "ap50", "ap50_95", "cpm", "box_iou"),
    "segmentation": ("dice_all", "dice_positive", "iou_positive", "hd95_px_positive", "hd95_mm_positive"),
}
TITLES = {
    "auc_macro": "AUC",
    "ap_macro": "AP",
    "brier_macro": "Brier",
    "ece_macro": "ECE",
    "ece_calibrated": "ECE (calibrated)",
    "ap40": "AP@0.4",
    "ap50": "AP@0.5",
    "ap50_95": "AP@[.5:.95]",
    "cpm": "CPM",
    "box_iou": "box IoU",
    "dice_all": "Dice (all)",
    "dice_positive": "Dice (positive)",
    "iou_positive": "IoU (positive)",
    "hd95_px_positive": "HD95 px (positive)",
    "hd95_mm_positive": "HD95 mm (positive)",
}
# what a class and a subgroup are shown with
PER_CLASS = {
    "classification": ("auc", "ap", "brier", "ece", "ece_calibrated", "sensitivity", "specificity"),
    "localization": ("ap40", "ap50", "cpm", "box_iou"),
    "segmentation": ("dice_positive", "iou_positive", "hd95_px_positive", "hd95_mm_positive"),
}
PER_GROUP = {
    "classification": ("auc_macro", "ap_macro"),
    "localization": ("ap40", "cpm"),
    "segmentation": ("dice_all", "dice_positive"),
}


def fill_tables(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with every table between ``<!-- table: NAME -->`` and ``<!-- end -->`` made anew.

    Args:
        page: Markdown.
        tables: what makes a table, by name; tables of other names stay.
    """

    def table(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- table: {name} -->\n{tables[name]()}\n<!-- end -->" if name in tables else match[0]

    return re.sub(r"<!-- table: ([\w ]+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def interval_table(rows: Sequence[Row]) -> str:
    """Return one Markdown table per kind with intervals: a line per dataset and model."""
    return _blocks(overall_lines(rows), ("model",))


def class_table(rows: Sequence[Row]) -> str:
    """Return one Markdown table per kind with intervals: a line per dataset, class and model."""
    return _blocks(class_lines(rows), ("class", "model"))


def group_table(rows: Sequence[Row]) -> str:
    """Return one Markdown table per kind with intervals: a line per dataset, subgroup and model."""
    return _blocks(group_lines(rows), ("subgroup", "model"))


def overall_lines(rows: Sequence[Row]) -> ScoreLines:
    """Return the scores over all images and classes by (dataset, model)."""
    return _lines(rows, COLUMNS, lambda r: "@" not in r["metric"] and "/" not in r["metric"], lambda r: (r["model"],))


def class_lines(rows: Sequence[Row]) -> ScoreLines:
    """Return the scores of single classes by (dataset, class, model)."""
    return _lines(
        rows,
        PER_CLASS,
        lambda r: "@" not in r["metric"] and "/" in r["metric"],
        lambda r: (r["metric"].partition("/")[2], r["model"]),
    )


def group_lines(rows: Sequence[Row]) -> ScoreLines:
    """Return the scores within subgroups of patients by (dataset, subgroup, model)."""
    return _lines(
        rows,
        PER_GROUP,
        lambda r: "@" in r["metric"] and "/" not in r["metric"],
        lambda r: (r["metric"].partition("@")[2], r["model"]),
    )


def title_of(metric: str) -> str:
    """Return what a metric is called in tables, of all classes or of one."""
    return TITLES.get(metric, TITLES.get(f"{metric}_macro", metric))


def with_interval(row: Row | None) -> str:
    """Return ``0.871 (0.81-0.92)``, or the value alone when it has no interval."""
    if row is None:
        return "n/a"
    low, high = row.get("low"), row.get("high")
    if low is None or high is None or math.isnan(low):
        return number(row["value"])
    return f"{number(row['value'])} ({low:.2f}-{high:.2f})"


def with_difference(row: Row | None) -> str:
    """Return ``+0.021 (+0.01 to +0.04) *``; the star says that the interval doesn't hold 0."""
    if row is None or math.isnan(row["difference"]):
        return "n/a"
    low, high = row["difference_low"], row["difference_high"]
    if math.isnan(low):
        return f"{row['difference']:+.3f}"
    return f"{row['difference']:+.3f} ({low:+.2f} to {high:+.2f}){'' if low <= 0 <= high else ' *'}"


def _lines(
    rows: Sequence[Row],
    columns: Mapping[str, Sequence[str]],
    belongs: Callable[[Row], bool],
    key: Callable[[Row], _Key],
) -> ScoreLines:
    result: ScoreLines = {}
    for kind, metrics in columns.items():
        found: dict[_Key, dict[str, Row]] = {}
        for row in rows:
            if row["kind"] == kind and belongs(row):
                line = found.setdefault((row["dataset"], *key(row)), {})
                line[row["metric"].partition("@")[0].partition("/")[0]] = row
        shown = [metric for metric in metrics if any(metric in line for line in found.values())]
        if shown:
            result[kind] = (shown, {name: line for name, line in found.items() if line.keys() & set(shown)})
    return result


def _blocks(kinds: ScoreLines, names: _Key) -> str:
    blocks = []
    for kind, (metrics, lines) in kinds.items():
        header = [
            kind,
            *names,
            "images",
            *(title_of(metric) for metric in metrics),
        ]
        body = [
            [*name, str(next(iter(line.values()))["images"]), *(with_interval(line.get(metric)) for metric in metrics)]
            for name, line in lines.items()
        ]
        blocks.append(markdown(header, body))
    return "\n\n".join(blocks)


def score_table(rows: Sequence[Row], *, models: Sequence[str]) -> str:
    """Return one Markdown table per kind: a line per dataset, a column per metric with one value for each model."""
    blocks = []
    for kind, metrics in COLUMNS.items():
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        values = {(row["dataset"], row["model"], row["metric"]): row["value"] for row in own}
        images = {row["dataset"]: row["images"] for row in own if "@" not in row["metric"]}
        metrics = _present(metrics, [{metric for _, _, metric in values}])
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
        metrics = _present(metrics, [{metric for _, _, metric in run} for run in found])
        lines = []
        for dataset in datasets:
            for model in models:
                values = [[run.get((dataset, model, m), {}).get("value") for run in found] for m in metrics]
                images = next(run[dataset, model, metrics[0]]["images"] for run in found)
                lines.append([dataset, model, str(images), *(mean_and_spread(v) for v in values)])
        if lines:
            blocks.append(markdown([kind, "model", "images", *(TITLES[m] for m in metrics)], lines))
    return "\n\n".join(blocks)


def _present(metrics: Sequence[str], found: Sequence[set[str]]) -> tuple[str, ...]:
    """Return the metrics that occur: stored results of an earlier version hold fewer."""
    return tuple(metric for metric in metrics if any(metric in names for names in found))


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


def write_json(result: Mapping[str, Any], path: Path) -> None:
    """Write a result with one score row per line, so that files compare well; undefined numbers become null."""
    rows = ",\n".join(json.dumps(_plain(row, digits=6)) for row in result["rows"])
    head = json.dumps(_plain({key: value for key, value in result.items() if key != "rows"}), indent=1)
    with write_text(path) as file:
        file.write(f'{head[:-2]},\n "rows": [\n{rows}\n]}}\n')


def _plain(value: Any, digits: int | None = None) -> Any:
    """Return the value with undefined numbers as None, others rounded when digits are given."""
    if isinstance(value, Mapping):
        return {key: _plain(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, digits) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    return value
