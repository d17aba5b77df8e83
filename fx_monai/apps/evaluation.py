"""Evaluate weights on any split of a recipe's datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fx_monai.apps.devices import choose_device
from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.apps.prediction import RESEARCH_ONLY
from fx_monai.apps.tables import score_table, write_csv
from fx_monai.apps.training import prepare_data_root, say
from fx_monai.data.splits import PARTS
from fx_monai.engine.evaluator import MatrixEvaluator
from fx_monai.errors import CheckpointError, ConfigError, did_you_mean
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.recipe import load_recipe


def evaluate_weights(
    weights: Path,
    recipe_name: str,
    *,
    data_root: str,
    output_dir: str = "",
    split: str = "test",
    device: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Print the table of all tasks, write ``results.csv`` when a folder is given, and return the score rows.

    Raises:
        ConfigError: recipe, split or device.
        CheckpointError: the weights can't be used, or are for other classes than the data.
    """
    if split not in PARTS:
        raise ConfigError(
            where="--split",
            problem=f"'{split}'. {did_you_mean(split, PARTS)}".rstrip(),
            expected=f"one of {', '.join(PARTS)}",
            remedy="Correct the name",
        )
    network = load_network(weights).to(choose_device(device))
    recipe = load_recipe(recipe_name, {**(overrides or {}), "model.image_size": network.config.image_size})
    experiment = open_experiment(recipe, data_root=prepare_data_root(recipe, data_root), report=say)
    return print_scores(network, experiment, split, device=choose_device(device), output_dir=output_dir)


def print_scores(
    network: FoundationX, experiment: Experiment, split: str, *, device: torch.device, output_dir: str = ""
) -> list[dict[str, Any]]:
    """Score a network on a split, print the table, write ``results.csv`` when a folder is given; return the rows.

    Raises:
        CheckpointError: the network is for other classes than the data.
    """
    for task, spec in experiment.specs.items():
        if network.specs.get(task) != spec:
            theirs = f"{network.specs[task].classes}" if task in network.specs else "other tasks"
            raise CheckpointError(
                where=f"weights, task {task}",
                problem=f"they are for {theirs}",
                expected=f"{spec.classes}",
                remedy="Evaluate with the recipe and the data the weights were trained with",
            )
    evaluator = MatrixEvaluator(
        device=device,
        datasets={task: experiment.dataset(task, split, augmented=False) for task in experiment.specs},
        networks={"selected": network},
        split=split,
        batch_size=experiment.recipe.evaluation.batch_size,
    )
    evaluator.run()
    say("")
    say(score_table(evaluator.rows, models=["selected"]))
    say(f"\n{split} split; {'; '.join(filter(None, (RESEARCH_ONLY, network.card.note)))}")
    if output_dir:
        write_csv(evaluator.rows, Path(output_dir) / f"results_{split}.csv")
        say(f"table: {Path(output_dir) / f'results_{split}.csv'}")
    return evaluator.rows
