"""What trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fx_monai.errors import ConfigError
from fx_monai.key_values import listed, numbers, recipe_values
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
    from fx_monai.apps.train import run_training

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


def finetune(
    weights: str,
    target: str,
    *,
    data_root: str = "",
    out: str = "",
    mode: str = "head-first",
    shots: str = "",
    fractions: str = "",
    draws: int = 1,
    beside: str = "",
    resume: bool = False,
    seed: int | None = None,
    device: str = "",
    set: str = "",
) -> int:
    """Fine-tune weights on a target, or draw the curve of its scores against the amount of annotated data.

    Example: fx-monai finetune runs/demo/model.pt jsrt/segmentation --data-root data --out runs/jsrt

    With --shots or --fractions this is a study on nested parts of the training patients (table, CSV, JSON, curve);
    called again, it goes on where it was stopped.

    Args:
        weights: model.pt of a run, converted weights, imagenet, random or timm:NAME.
        target: DATASET, DATASET/KIND, a shipped recipe, or a YAML file.
        data_root: folder that the datasets' roots are relative to; default: the variable FX_MONAI_DATA_ROOT.
        out: folder to write; default: runs/finetune_<target>.
        mode: head-first (the heads, then everything), full, head, or probe (linear, on cached features).
        shots: patients per class, separated by commas (3,6,12,15,20,24).
        fractions: percent of the training patients, separated by commas (1,5,10,50,100).
        draws: of every part of a study, each with a seed of its own.
        beside: other starts of a study, separated by commas (imagenet,random).
        resume: go on with the fine-tuning in `out`.
        seed: replaces the recipe's seed.
        device: e.g. cpu or cuda:0; default: the first GPU, else the CPU.
        set: other values of the recipe, key=value, separated by commas (schedule.cycles=20).
    """
    from fx_monai.apps.finetune import Request, run_finetune, run_study

    overrides: dict[str, Any] = dict(recipe_values(set))
    if seed is not None:
        overrides["seed"] = seed
    name = Path(target).stem if Path(target).suffix else target.replace("/", "_")
    request = Request(
        weights,
        target,
        data_root=data_root or os.environ.get(DATA_ROOT, ""),
        folder=Path(out or f"runs/finetune_{name}"),
        modes=listed(mode),
        device=device,
        overrides=overrides,
        resume=resume,
    )
    parts = numbers(shots, "--shots", whole=True), numbers(fractions, "--fractions")
    if not any(parts):
        if beside or draws != 1:
            raise ConfigError(
                where="fx-monai finetune",
                problem="--beside and --draws belong to a study",
                expected="--shots or --fractions with them",
                remedy="Add the parts of the training data, or leave them out",
            )
        run_finetune(request)
        return 0
    whole = [int(number) for number in parts[0]]
    return run_study(request, beside=listed(beside), shots=whole, fractions=parts[1], draws=draws)
