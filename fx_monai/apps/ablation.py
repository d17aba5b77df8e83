"""Ablation of the method: all of it, without Lock-Release, without the teacher, and a network of its own per task.

    python -m fx_monai.apps.ablation --runs runs --out docs/results/ablation.json

All arms see the same images in the same number of steps per task. Hours for the demo cohort; a second call goes on
where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fx_monai.apps.tables import markdown, mean_line, write_json
from fx_monai.apps.training import TrainingSession
from fx_monai.metrics.scores import primary_metric
from fx_monai.recipe import Recipe, load_recipe
from fx_monai.types import Kind, Task

Row = dict[str, Any]

SINGLE_TASK = "a network per task"
ARMS: dict[str, dict[str, Any]] = {
    "full method": {},
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
        values = {**ARMS[self.arm], "seed": self.seed}
        if self.task is not None:
            # datasets without a task stay, so that the patients are divided as in the other arms
            for name in recipe.datasets:
                values[f"datasets.{name}.tasks"] = [self.task.kind.value] if name == self.task.dataset else []
            values["primary"] = None
        return values


def all_runs(recipe: Recipe, seeds: Sequence[int]) -> Iterator[Run]:
    """Yield the trainings of the study, seed by seed, so that an early stop leaves whole seeds."""
    for seed in seeds:
        for arm in ARMS:
            if arm == SINGLE_TASK:
                yield from (Run(arm, seed, task) for task in recipe.tasks)
            else:
                yield Run(arm, seed)


def ablation_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table: a line per arm, per kind the mean over datasets, mean ± standard deviation over seeds.

    Args:
        rows: of :func:`collect`.
    """
    lines = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        seeds = [[row for row in own if row["seed"] == seed] for seed in dict.fromkeys(row["seed"] for row in own)]
        scores = (mean_line(seeds, model="selected", kind=k.value, metric=primary_metric(k)) for k in Kind)
        lines.append([arm, str(len(seeds)), *scores])
    return markdown(["mean over datasets", "seeds", "AUC", "AP@0.4", "Dice (positive)"], lines)


def collect(runs: Sequence[Run], folder: Path) -> list[Row]:
    """Return the primary test scores of all trainings that are complete, with their arm and seed."""
    rows = []
    for run in runs:
        path = run.folder(folder) / "results.json"
        if not path.is_file():
            continue
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
            if row["metric"] == primary_metric(Kind(row["kind"])):
                keys = ("dataset", "kind", "model", "metric", "value", "images")
                rows.append({"arm": run.arm, "seed": run.seed, **{key: row[key] for key in keys}})
    return rows


def study(recipe_name: str, *, data_root: Path, folder: Path, seeds: Sequence[int], out: Path, device: str) -> bool:
    """Do the trainings that are missing and write what is complete; return False when a stop signal came.

    Args:
        recipe_name: what to train.
        data_root: see :class:`TrainingSession`.
        folder: gets a folder ``ablation`` with one folder per training.
        seeds: of the trainings.
        out: JSON file with the scores.
        device: where to train; "" = the first GPU, else the CPU.
    """
    recipe = load_recipe(recipe_name)
    runs = list(all_runs(recipe, seeds))
    for number, run in enumerate(runs, start=1):
        place = run.folder(folder)
        if (place / "results.json").is_file():
            continue
        sys.stdout.write(f"\n{number} of {len(runs)}: {run.arm}, seed {run.seed} {run.task or ''}\n")
        session = TrainingSession(
            recipe_name,
            data_root=data_root,
            output_dir=place,
            device=device,
            overrides=run.overrides(recipe),
            resume=(place / "checkpoint.pt").is_file(),
            tracking_database=folder / "mlruns.db",
        )
        session.trainer().run()
        session.finish()
        if session.checkpoints.stopped:
            return False
        _write(recipe_name, collect(runs, folder), out)
    return True


def _write(recipe_name: str, rows: Sequence[Row], out: Path) -> None:
    result: Mapping[str, Any] = {"recipe": recipe_name, "split": "test", "rows": rows}
    write_json(result, out)


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
    whole = study(
        words.recipe, data_root=data_root, folder=words.runs, seeds=words.seeds, out=words.out, device=words.device
    )
    if whole:
        rows = json.loads(words.out.read_text(encoding="utf-8"))["rows"]
        sys.stdout.write(f"\n{ablation_table(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
