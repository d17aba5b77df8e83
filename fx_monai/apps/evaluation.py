"""Evaluate weights on any split of a recipe's datasets: scores with intervals, subgroups, predictions per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fx_monai import __version__
from fx_monai.apps import data_summary
from fx_monai.apps.cases import Case, find_cases, write_cases
from fx_monai.apps.cross_dataset import cross_dataset_rows, cross_dataset_table
from fx_monai.apps.data_root import prepare_data_root
from fx_monai.apps.devices import choose_device
from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.apps.predictions import write_predictions
from fx_monai.apps.score_rows import Row, all_rows
from fx_monai.apps.tables import class_table, group_table, interval_table, write_csv, write_json
from fx_monai.apps.training import say
from fx_monai.data.manifest import Manifest
from fx_monai.data.splits import PARTS
from fx_monai.data.store import ImageStore
from fx_monai.data.vocabulary import vocabulary
from fx_monai.engine.evaluator import MatrixEvaluator
from fx_monai.engine.processes import is_writer
from fx_monai.errors import CheckpointError, check_choice
from fx_monai.files import write_text
from fx_monai.metrics.classification import ClassificationScores, fit_calibration
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.card import Calibration
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.progress import progress_bar
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task

SELECTED = "selected"
BRACKETS = "95 % intervals by bootstrap over patients"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found out.

    Args:
        split: name of the split.
        rows: every score with its interval, see :func:`fx_monai.apps.score_rows.score_rows`.
        cross_dataset: see :func:`fx_monai.apps.cross_dataset.cross_dataset_rows`.
        means: mean primary metric of each model.
        scores: predictions and truth of every task and model.
        manifests: by dataset.
    """

    split: str
    rows: list[Row]
    cross_dataset: list[Row]
    means: Mapping[str, float]
    scores: Mapping[tuple[Task, str], TaskScores]
    manifests: Mapping[str, Manifest]


def evaluate_weights(
    weights: Path,
    recipe_name: str,
    *,
    data_root: str,
    output_dir: str = "",
    split: str = "test",
    device: str = "",
    finding: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Print the table of all tasks, write tables and predictions when a folder is given, and return the score rows.

    Args:
        weights: model.pt of a run.
        recipe_name: name of a shipped recipe, or a YAML file.
        data_root: folder that the recipe's roots are relative to.
        output_dir: folder for ``results_<split>.csv``, ``.md``, ``.json`` and ``predictions/<split>``; "" = none.
        split: train, val or test.
        device: "" = first GPU, else CPU.
        finding: harmonised finding whose heads are listed on the screen; "" = in the files only.
        overrides: values of the recipe by dotted key.

    Raises:
        ConfigError: recipe, split, finding or device.
        CheckpointError: the weights can't be used, or are for other classes than the data.
    """
    check_split(split)
    if finding:
        vocabulary().labels_of(finding)
    place = choose_device(device)
    network, experiment = open_for_weights(weights, recipe_name, data_root=data_root, overrides=overrides)
    return print_scores(network.to(place), experiment, split, device=place, output_dir=output_dir, finding=finding)


def open_for_weights(
    weights: Path, recipe_name: str, *, data_root: str, overrides: Mapping[str, Any] | None
) -> tuple[FoundationX, Experiment]:
    """Return the network of weights, on the CPU, and a recipe's data in the size that it reads.

    Raises:
        ConfigError: the recipe.
        CheckpointError: the weights can't be used.
    """
    network = load_network(weights)
    recipe = load_recipe(recipe_name, {**(overrides or {}), "model.image_size": network.config.image_size})
    return network, open_experiment(recipe, data_root=prepare_data_root(recipe, data_root), report=say)


def check_split(split: str) -> None:
    """Refuse what is no split.

    Raises:
        ConfigError: no such split.
    """
    check_choice(split, PARTS, where="--split", remedy="Correct the name")


def print_scores(
    network: FoundationX,
    experiment: Experiment,
    split: str,
    *,
    device: torch.device,
    output_dir: str = "",
    finding: str = "",
) -> list[Row]:
    """Score a network on a split, print the table, write everything when a folder is given; return the rows.

    Raises:
        CheckpointError: the network is for other classes than the data.
    """
    _check_classes(network, experiment)
    if not network.card.calibration and split != "val":
        network.card = replace(network.card, calibration=calibrate(network, experiment, device=device))
        say("note: the weights carry no calibration; fitted on the validation split for this table")
    evaluation = evaluate_networks({SELECTED: network}, experiment, split, device=device)
    say("")
    say(interval_table(evaluation.rows))
    if finding:
        chosen = [row for row in evaluation.cross_dataset if row["finding"] == finding]
        say("")
        say(cross_dataset_table(chosen) or f"{finding}: no two heads carry it, or no dataset has it both ways")
    note = network.card.statement
    say(f"\n{split} split; {note}\nin brackets: {BRACKETS}")
    if output_dir:
        about: dict[str, Any] = {
            "recipe": experiment.recipe.name,
            "fx_monai": __version__,
            "split": split,
            "note": note,
        }
        about |= {"weights": {**vars(network.card), "calibration": None}, "means": dict(evaluation.means)}
        for path in write_evaluation(evaluation, Path(output_dir), stem=f"results_{split}", about=about):
            say(f"written: {path}")
        write_cases_and_data(evaluation, experiment, network, Path(output_dir), device=device)
        say(f"written: {Path(output_dir) / 'cases' / split}, {Path(output_dir) / data_summary.FILE}")
    return evaluation.rows


def evaluate_networks(
    networks: Mapping[str, FoundationX], experiment: Experiment, split: str, *, device: torch.device
) -> Evaluation:
    """Score networks by name on a split of all tasks, with intervals, subgroups and cross-dataset queries."""
    evaluator = task_evaluator(networks, experiment, split, device, detailed=True)
    evaluator.run()
    manifests = experiment.manifests
    # the process that writes needs intervals, the others only have to take part in the evaluation
    resamples = experiment.recipe.evaluation.resamples if is_writer() else 0
    scores = {
        (task, model): with_spacing(own, manifests[task.dataset], experiment.stores[task.dataset])
        for (task, model), own in evaluator.scores.items()
    }
    rows = all_rows(
        scores, manifests, split=split, resamples=resamples, progress=progress_bar("intervals") if resamples else None
    )
    cross = cross_dataset_rows(scores, networks, manifests, vocabulary(), resamples=resamples)
    return Evaluation(split, rows, cross, evaluator.means, scores, manifests)


def calibrate(network: FoundationX, experiment: Experiment, *, device: torch.device) -> dict[str, Calibration]:
    """Fit temperatures and operating thresholds of every classification task on the validation split."""
    evaluator = task_evaluator({SELECTED: network}, experiment, "val", device, kinds=(Kind.CLASSIFICATION,))
    evaluator.run()
    return {
        str(task): fit_calibration(own)
        for (task, _), own in evaluator.scores.items()
        if isinstance(own, ClassificationScores)
    }


def write_evaluation(evaluation: Evaluation, folder: Path, *, stem: str, about: Mapping[str, Any]) -> list[Path]:
    """Write ``<stem>.csv``, ``<stem>.md``, ``<stem>.json`` and ``predictions/<split>/``; return the paths."""
    write_csv(evaluation.rows, folder / f"{stem}.csv")
    with write_text(folder / f"{stem}.md") as file:
        file.write(evaluation_page(evaluation))
    write_json({**about, "cross_dataset": evaluation.cross_dataset, "rows": evaluation.rows}, folder / f"{stem}.json")
    write_predictions(evaluation.scores, evaluation.manifests, folder / "predictions" / evaluation.split)
    return [folder / f"{stem}.{suffix}" for suffix in ("md", "csv", "json")] + [
        folder / "predictions" / evaluation.split
    ]


def write_cases_and_data(
    evaluation: Evaluation, experiment: Experiment, network: FoundationX, folder: Path, *, device: torch.device
) -> list[Case]:
    """Write what the report shows beside scores, ``cases/<split>`` and ``data.json``; return the cases.

    Args:
        evaluation: of the network, under the name ``selected``.
        experiment: the data.
        network: predicts the cases.
        folder: where to write.
        device: where to predict.
    """
    scores = {task: own for (task, model), own in evaluation.scores.items() if model == SELECTED}
    cases = find_cases(scores, experiment, network, device=device)
    write_cases(cases, folder / "cases" / evaluation.split)
    data_summary.write_data_summary(experiment, folder)
    return cases


def evaluation_page(evaluation: Evaluation) -> str:
    """Return all tables as Markdown: every model in the first, the selected one in the others."""
    rows, cross = (
        [row for row in own if row["model"] == SELECTED] for own in (evaluation.rows, evaluation.cross_dataset)
    )
    parts = {
        f"Scores on the {evaluation.split} split": interval_table(evaluation.rows),
        "By class": class_table(rows),
        "By subgroup": group_table(rows),
        "One finding, every head that carries it": cross_dataset_table(cross),
    }
    text = "\n\n".join(f"## {title}\n\n{table}" for title, table in parts.items() if table)
    return f"{text}\n\nIn brackets: {BRACKETS}.\n"


def with_spacing(scores: TaskScores, manifest: Manifest, store: ImageStore) -> TaskScores:
    """Return mask scores with the mm per pixel of the network input where the manifest knows square pixels."""
    if not isinstance(scores, SegmentationScores):
        return scores
    chosen = manifest.table.take(scores.rows)
    x, y = (np.array(chosen.column(name), dtype=np.float64) for name in ("spacing_mm_x", "spacing_mm_y"))
    scale = np.array([store.frame_to_store(int(row))[0, 0] for row in scores.rows])
    spacing: NDArray[np.float64] = np.where(np.abs(x - y) <= 0.01 * x, x, np.nan) / scale
    return replace(scores, spacing_mm=spacing)


def task_evaluator(
    networks: Mapping[str, FoundationX],
    experiment: Experiment,
    split: str,
    device: torch.device,
    *,
    detailed: bool = False,
    kinds: tuple[Kind, ...] = tuple(Kind),
) -> MatrixEvaluator:
    """Return the evaluator of the tasks of chosen kinds on a split, see :class:`MatrixEvaluator`."""
    tasks = [task for task in experiment.specs if task.kind in kinds]
    return MatrixEvaluator(
        device=device,
        datasets={task: experiment.dataset(task, split, augmented=False) for task in tasks},
        networks=networks,
        split=split,
        batch_size=experiment.recipe.evaluation.batch_size,
        detailed=detailed,
    )


def _check_classes(network: FoundationX, experiment: Experiment) -> None:
    for task, spec in experiment.specs.items():
        if network.specs.get(task) != spec:
            theirs = f"{network.specs[task].classes}" if task in network.specs else "other tasks"
            raise CheckpointError(
                where=f"weights, task {task}",
                problem=f"they are for {theirs}",
                expected=f"{spec.classes}",
                remedy="Evaluate with the recipe and the data the weights were trained with",
            )
