"""Ablation of the method: all of it, without Lock-Release, without the teacher, and a network of its own per task.

    python -m fx_monai.apps.ablation --runs runs --out docs/results/ablation.json

All arms see the same images in the same number of steps per task. Hours for the demo cohort; a second call goes on
where the first was stopped, in the middle of a training too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fx_monai.apps.ablation_tables import FULL, Row, ablation_tables
from fx_monai.apps.tables import write_json
from fx_monai.apps.train import train_to_the_end
from fx_monai.engine.checkpoint import differing_keys
from fx_monai.errors import ConfigError, FxError
from fx_monai.metrics.scores import primary_metric
from fx_monai.recipe import Recipe, load_recipe, parse_recipe
from fx_monai.types import Kind, Task

SINGLE_TASK = "a network per task"
ARMS: dict[str, dict[str, Any]] = {
    FULL: {},
    # phases that would be LOCK are RELEASE, so that the arms differ in nothing else
    "without Lock-Release": {"schedule.lock_release": False},
    "without the teacher": {"teacher.enabled": False},
    SINGLE_TASK: {"schedule.lock_release": False, "teacher.enabled": False},
}


@dataclass(frozen=True)
class Run:
    """One training of the study.

    Args:
        arm: key of ``ARMS``.
        seed: of the training.
        task: the only task of a network per task.
    """

    arm: str
    seed: int
    task: Task | None = None

    def folder(self, runs: Path) -> Path:
        """Return where the training goes."""
        parts = [self.arm.lower().replace(" ", "_"), f"seed{self.seed}"]
        return runs.joinpath("ablation", *parts, *([str(self.task).replace("/", "_")] if self.task else []))

    def overrides(self, recipe: Recipe) -> dict[str, Any]:
        """Return the values of the recipe that this training changes."""
        # the spread is that over seeds, so no training needs intervals of its own; nobody will use the weights
        values = {
            **ARMS[self.arm],
            "seed": self.seed,
            "evaluation.resamples": 0,
            "tracking.register_model": False,
        }
        if self.task is not None:
            # a task warms up for the same share of its steps as in the other arms
            values["optimiser.warmup_steps"] = round(recipe.optimiser.warmup_steps / len(recipe.tasks))
            values |= recipe.values_for_one(self.task)
        return values


def all_runs(recipe: Recipe, seeds: Sequence[int]) -> Iterator[Run]:
    """Yield the trainings of the study, seed by seed, so that an early stop leaves whole seeds."""
    for seed in seeds:
        for arm in ARMS:
            if arm == SINGLE_TASK:
                yield from (Run(arm, seed, task) for task in recipe.tasks)
            else:
                yield Run(arm, seed)


def collect(runs: Sequence[Run], folder: Path) -> list[Row]:
    """Return the primary test scores with arm and seed, of every arm and seed of which all trainings are complete."""
    whole = {(run.arm, run.seed) for run in runs} - {(run.arm, run.seed) for run in runs if not _done(run, folder)}
    rows = []
    for run in runs:
        if (run.arm, run.seed) not in whole:
            continue
        for row in _result(run, folder)["rows"]:
            if row["metric"] == primary_metric(Kind(row["kind"])):
                keys = ("dataset", "kind", "model", "metric", "value", "images")
                rows.append({"arm": run.arm, "seed": run.seed, **{key: row[key] for key in keys}})
    return rows


def study(recipe_name: str, *, data_root: Path, folder: Path, seeds: Sequence[int], out: Path, device: str) -> bool:
    """Do the trainings that are missing and write what is complete; return False when a stop signal came.

    Args:
        recipe_name: what to train.
        data_root: see :class:`fx_monai.apps.training.TrainingSession`.
        folder: gets a folder ``ablation`` with one folder per training.
        seeds: of the trainings.
        out: JSON file with the scores.
        device: where to train; "" = the first GPU, else the CPU.

    Raises:
        ConfigError: the folder holds a training of another recipe.
    """
    recipe = load_recipe(recipe_name)
    runs = list(all_runs(recipe, seeds))
    for run in runs:
        _check_same_recipe(run, recipe_name, folder)
    for number, run in enumerate(runs, start=1):
        if not _done(run, folder):
            sys.stdout.write(f"\n{number} of {len(runs)}: {run.arm}, seed {run.seed} {run.task or ''}\n")
            whole = train_to_the_end(
                recipe_name,
                data_root=data_root,
                folder=run.folder(folder),
                device=device,
                overrides=run.overrides(recipe),
                tracking_database=folder / "mlruns.db",
            )
            if not whole:
                return False
        rows = collect(runs, folder)
        if rows:
            write_json({"recipe": recipe_name, "split": "test", "rows": rows}, out)
    return True


def _check_same_recipe(run: Run, recipe_name: str, folder: Path) -> None:
    """Refuse scores of another recipe; the training that is under way has its checkpoint's own check."""
    if not _done(run, folder):
        return
    found = parse_recipe(_result(run, folder)["recipe"], where=str(run.folder(folder) / "results.json"))
    wanted = load_recipe(recipe_name, run.overrides(load_recipe(recipe_name)))
    changed = differing_keys(found.lasting_values(), wanted.lasting_values())
    if changed:
        raise ConfigError(
            where=str(run.folder(folder)),
            problem=f"it was trained with another {', '.join(changed[:5])}",
            expected=f"trainings of the recipe '{recipe_name}' as it is now, so that the arms differ in nothing else",
            remedy="Delete this folder, or name another one with --runs",
        )


def _done(run: Run, folder: Path) -> bool:
    return (run.folder(folder) / "results.json").is_file()


def _result(run: Run, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run.folder(folder) / "results.json").read_text(encoding="utf-8"))
    return content


def main() -> int:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for data and results")
    parser.add_argument("--data-root", type=Path, help="default: the demo cohort in the folder of the runs")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the scores")
    words = parser.parse_args()
    data_root = words.data_root or words.runs / "demo-cohort"
    try:
        whole = study(
            words.recipe, data_root=data_root, folder=words.runs, seeds=words.seeds, out=words.out, device=words.device
        )
    except FxError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if whole:
        rows = json.loads(words.out.read_text(encoding="utf-8"))["rows"]
        sys.stdout.write(f"\n{ablation_tables(rows)}\n")
    else:
        sys.stdout.write("the study was stopped; the same command goes on with it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
