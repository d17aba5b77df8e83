"""What measures and compares trained weights."""

from __future__ import annotations

import os
from pathlib import Path

from fx_monai.key_values import recipe_values
from fx_monai.verbs.common import DATA_ROOT, say


def evaluate(
    weights: str,
    recipe: str,
    *,
    data_root: str = "",
    out: str = "",
    split: str = "test",
    device: str = "",
    finding: str = "",
    set: str = "",
) -> None:
    """Evaluate weights on a split of a recipe's datasets and print the table with 95 % intervals.

    Example: fx-monai evaluate runs/demo/model.pt demo --data-root runs/demo-cohort

    Args:
        weights: model.pt of a run.
        recipe: name of a shipped recipe, or a YAML file.
        data_root: folder that the datasets' roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        out: folder for tables (Markdown, CSV, JSON) and predictions per image (Parquet); default: only print.
        split: train, val or test.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        finding: also print how every head that carries this finding does on every dataset (pleural_effusion).
        set: other values of the recipe, key=value, separated by commas.
    """
    from fx_monai.apps.evaluation import evaluate_weights

    evaluate_weights(
        Path(weights),
        recipe,
        data_root=data_root or os.environ.get(DATA_ROOT, ""),
        output_dir=out,
        split=split,
        device=device,
        finding=finding,
        overrides=recipe_values(set),
    )


def compare(*runs: str, out: str = "", split: str = "test", model: str = "selected", resamples: int = 1000) -> None:
    """Compare runs on the same images: scores, differences from the first run, paired 95 % intervals.

    Example: fx-monai compare runs/single-task runs/multi-task --out runs/comparison

    Args:
        runs: folders of runs, of what `evaluate --out` wrote, or of a network per task; the first is the baseline.
        out: folder for the tables (Markdown, CSV, JSON); default: only print.
        split: train, val or test.
        model: student, teacher or selected.
        resamples: bootstrap resamples; 0 = no intervals.
    """
    from fx_monai.apps.comparison import compare_runs, write_comparison

    found = compare_runs([Path(run) for run in runs], split=split, model=model, resamples=resamples)
    say(found.page())
    for path in write_comparison(found, Path(out)) if out else ():
        say(f"written: {path}")


def report(run: str, *, out: str = "") -> None:
    """Write one self-contained HTML page about a run: scores, curves, cases, data, environment.

    Example: fx-monai report runs/demo

    Args:
        run: folder of a run that has ended, or what `evaluate --out` wrote.
        out: file to write; default: report.html in the folder.
    """
    from fx_monai.apps.report.page import write_report

    say(f"written: {write_report(Path(run), Path(out) if out else None)}")
