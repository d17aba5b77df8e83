"""What trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fx_monai.key_values import recipe_values
from fx_monai.verbs.common import DATA_ROOT


def train(
    recipe: str,
    *,
    data_root: str = "",
    out: str = "",
    resume: bool = False,
    dry_run: bool = False,
    seed: int | None = None,
    device: str = "",
    init_from: str = "",
    set: str = "",
) -> None:
    """Train a recipe, evaluate it on the test split, print the result table.

    Example: fx-monai train demo --data-root runs/demo-cohort --out runs/demo

    Args:
        recipe: name of a shipped recipe, or a YAML file.
        data_root: folder that the datasets' roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        out: folder for checkpoint, weights, tables and figures; default: runs/<recipe>.
        resume: go on with the run in `out`.
        dry_run: show phases, parameters and steps; train nothing.
        seed: replaces the recipe's seed.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        init_from: weights or checkpoint to start from; tasks of the recipe that they don't know get fresh heads.
        set: other values of the recipe, key=value, separated by commas (schedule.cycles=2).
    """
    from fx_monai.apps.training import run_training

    overrides: dict[str, Any] = dict(recipe_values(set))
    if seed is not None:
        overrides["seed"] = seed
    if init_from:
        overrides["init_from"] = init_from
    run_training(
        recipe,
        data_root=data_root or os.environ.get(DATA_ROOT, ""),
        output_dir=out or f"runs/{Path(recipe).stem}",
        device=device,
        overrides=overrides,
        resume=resume,
        dry_run=dry_run,
    )
