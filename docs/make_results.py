"""Write the tables of docs/results.md anew from the stored result files in docs/results.

    python docs/make_results.py --store runs/demo demo_seed0    # take over what the page shows of a run
    python docs/make_results.py                                 # rewrite both pages
    python docs/make_results.py --check                         # exit 1 when the page doesn't match the files

Written are docs/results.md and the model card of the bundle, bundle/docs/README.md.

Each table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. A result file is the ``results.json`` of a run
without the scores that no table shows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fx_monai.apps.ablation_tables import ablation_tables
from fx_monai.apps.bundle.model_card import fill_model_card
from fx_monai.apps.tables import COLUMNS, fill_tables, markdown, mean_line, number, seed_table
from fx_monai.apps.transfer import transfer_tables
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Kind

HERE = Path(__file__).resolve().parent
BUNDLE = HERE.parent / "bundle"
MODELS = ("student", "teacher", "selected")
BASE_HEAD = "light"
NOT_YET = "*Not run yet.*"
VIEWS = ("auc/Pneumonia", "auc/Pneumonia@AP", "auc/Pneumonia@PA")


def load(pattern: str) -> list[dict[str, Any]]:
    """Return the stored results whose file name matches, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "results").glob(pattern))]


def seeds(pattern: str) -> str:
    """Return the table over seeds and the mean over datasets of each kind."""
    runs = [result["rows"] for result in load(pattern)]
    lines = [
        [model, *(mean_line(runs, model=model, kind=kind.value, metric=primary_metric(kind)) for kind in Kind)]
        for model in MODELS
    ]
    means = markdown(["mean over datasets", "AUC", "AP@0.4", "Dice (positive)"], lines)
    return f"{seed_table(runs, models=MODELS)}\n\n{means}"


def views() -> str:
    """Return the AUC of Pneumonia in the NIH labels, over all images and within each view."""
    runs = [result["rows"] for result in load("real_small_seed*.json")]
    lines = []
    for metric in VIEWS:
        chosen = [[r for r in run if r["dataset"] == "nih_chestxray14" and r["metric"] == metric] for run in runs]
        images = next((row["images"] for run in chosen for row in run), 0)
        values = (
            mean_line(chosen, model=model, kind="classification", metric=metric) if any(chosen) else "n/a"
            for model in MODELS
        )
        lines.append([metric.removeprefix("auc/"), str(images), *values])
    return markdown(["NIH label", "images", *MODELS], lines)


def baselines() -> str:
    """Return the trivial baselines of real_small."""
    rows = [row for result in load("real_small_baselines.json") for row in result["rows"]]
    lines = [[f"{r['dataset']}/{r['kind']}", str(r["images"]), r["metric"], number(r["value"])] for r in rows]
    return markdown(["task", "images", "metric", "baseline"], lines)


def folds() -> str:
    """Return lung Dice and lung box IoU of every cross-validation fold and their means over images."""
    lines, totals = [], {"dice_positive": [0.0, 0], "box_iou": [0.0, 0]}
    tasks = {"dice_positive": ("v7_lungs", "segmentation"), "box_iou": ("generalblockchain_lungs", "localization")}
    for result in load("real_small_fold*.json"):
        cells = [str(result["recipe"]["data"]["split"]["fold"] + 1)]
        for metric, (dataset, kind) in tasks.items():
            row = next(
                r
                for r in result["rows"]
                if (r["dataset"], r["kind"], r["model"], r["metric"]) == (dataset, kind, "student", metric)
            )
            totals[metric][0] += row["value"] * row["images"]
            totals[metric][1] += row["images"]
            cells += [str(row["images"]), number(row["value"])]
        lines.append(cells)
    if lines:
        all_images = ["all"]
        for total, images in totals.values():
            all_images += [str(images), number(total / images)]
        lines.append(all_images)
    return markdown(["fold", "images", "lung Dice", "images", "lung box IoU"], lines)


def ablation() -> str:
    """Return the tables of `make ablation`."""
    rows = [row for result in load("ablation.json") for row in result["rows"]]
    return ablation_tables(rows) if rows else NOT_YET


def transfer() -> str:
    """Return the tables of `make transfer`."""
    rows = [row for result in load("transfer.json") for row in result["rows"]]
    return transfer_tables(rows) if rows else NOT_YET


def localization() -> str:
    """Return the tables of the localization heads on equal terms, one per task."""
    rows = [row for result in load("localization.json") for row in result["rows"]]
    tables = []
    for task, seconds in sorted({(row["task"], row["seconds"]) for row in rows}):
        models: dict[str, dict[tuple[int, int], dict[str, Any]]] = {}
        for row in rows:
            if (row["task"], row["seconds"]) == (task, seconds):
                models.setdefault(row["model"], {})[row["seed"], row["fold"]] = row
        lines = [[name, *_head_cells(runs, models[BASE_HEAD])] for name, runs in models.items()]
        lines.sort(key=lambda line: line[3], reverse=True)
        headings = [task, "runs", "steps", "AP@0.4", "AP@0.5", f"AP@0.4 minus {BASE_HEAD} (95 % interval)"]
        tables.append(markdown(headings, lines))
    return "\n\n".join(tables) or NOT_YET


def _head_cells(runs: dict[tuple[int, int], dict[str, Any]], base: dict[tuple[int, int], dict[str, Any]]) -> list[str]:
    steps, ap40, ap50 = (np.mean([row[key] for row in runs.values()]) for key in ("steps", "ap40", "ap50"))
    differences = [runs[key]["ap40"] - base[key]["ap40"] for key in runs.keys() & base.keys()]
    difference = ""
    if runs is not base and len(differences) > 1:
        half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
        difference = f"{np.mean(differences):+.3f} ± {half:.3f}"
    return [str(len(runs)), f"{steps:.0f}", number(float(ap40)), number(float(ap50)), difference]


TABLES = {
    "demo": lambda: seeds("demo_seed*.json"),
    "ablation": ablation,
    "transfer": transfer,
    "localization": localization,
    "real_small": lambda: seeds("real_small_seed*.json"),
    "real_small views": views,
    "real_small baselines": baselines,
    "real_small folds": folds,
}


def render(page: str) -> str:
    """Return the page with every table made anew."""
    return fill_tables(page, TABLES)


def render_model_card(page: str) -> str:
    """Return the bundle's model card with its tables made anew; the scores are those of one run of the demo recipe."""
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return fill_model_card(page, metadata, load("demo_seed0.json")[0])


def store(run: Path, name: str) -> None:
    """Take over the results of a run, with the scores that a table shows."""
    content = json.loads((run / "results.json").read_text(encoding="utf-8"))
    shown = {metric for metrics in COLUMNS.values() for metric in metrics} | set(VIEWS)
    content["rows"] = [row for row in content["rows"] if row["metric"] in shown]
    (HERE / "results" / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Store a run, rewrite or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--store", nargs=2, metavar=("RUN", "NAME"))
    arguments = parser.parse_args()
    if arguments.store:
        store(Path(arguments.store[0]), arguments.store[1])
        return 0
    pages = {HERE / "results.md": render, BUNDLE / "docs" / "README.md": render_model_card}
    stale = False
    for page, make in pages.items():
        text = page.read_text(encoding="utf-8")
        made = make(text)
        stale |= made != text
        if not arguments.check:
            page.write_text(made, encoding="utf-8")
    return int(arguments.check and stale)


if __name__ == "__main__":
    sys.exit(main())
