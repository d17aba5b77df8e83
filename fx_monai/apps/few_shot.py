"""Few-shot study: starting points beside each other on growing, nested parts of the training data.

A cell is one task, start, mode, subset and draw. Finished cells are kept as files and skipped, so a study that was
stopped goes on, inside a training too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai.apps.data_root import prepare_data_root
from fx_monai.apps.devices import choose_device
from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.apps.few_shot_cell import Cell, cell_identity, chosen_rows, stored_rows
from fx_monai.apps.few_shot_training import ProbeData, fine_tuned_scores, starting_network
from fx_monai.apps.fine_tuning import FineTuning, check_probe, recipe_values
from fx_monai.apps.score_rows import patients_of, score_rows
from fx_monai.apps.starting_point import StartingPoint
from fx_monai.apps.tables import COLUMNS, number, write_json
from fx_monai.apps.training import say
from fx_monai.data.subsets import Subset
from fx_monai.engine.processes import is_writer, wait_for_all
from fx_monai.errors import ConfigError
from fx_monai.metrics.scores import primary_metric
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.recipe import Recipe, load_recipe
from fx_monai.types import Task

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A few-shot study.

    Args:
        recipe: of the target, name or file.
        overrides: what target and user change.
        starts: starting points, the one of interest first.
        modes: what is trained.
        subsets: of the training split.
        draws: subsets and trainings per point; draw k has the seed of the recipe plus k.
        data_root: see :class:`fx_monai.apps.training.TrainingSession`.
        folder: gets ``cells`` and ``features``.
        device: "" = first GPU, else CPU.
    """

    recipe: str
    overrides: Mapping[str, Any]
    starts: Sequence[StartingPoint]
    modes: Sequence[FineTuning]
    subsets: Sequence[Subset]
    draws: int
    data_root: str
    folder: Path
    device: str = ""
    _probed: dict[tuple[Task, str, int], ProbeData] = field(default_factory=dict, init=False, repr=False)

    def check(self) -> None:
        """Refuse what would fail after hours.

        Raises:
            ConfigError: no draw, two starts of one name, a probe of other tasks than classification, or a recipe that
                isn't valid.
        """
        names = [start.name for start in self.starts]
        if self.draws < 1 or len(set(names)) < len(names):
            raise ConfigError(
                where="--draws" if self.draws < 1 else "--beside",
                problem=f"{self.draws} draws" if self.draws < 1 else f"two starts are called {_twice(names)}",
                expected="at least 1 draw, and starts whose folders have different names",
                remedy="Correct the value",
            )
        for mode in self.modes:
            for start in self.starts:
                values = recipe_values(self.recipe, mode, start, self.overrides)
                if mode is FineTuning.PROBE:
                    check_probe(self.recipe, values)

    def cells(self) -> Iterator[Cell]:
        """Yield the cells: trainings draw by draw, so that an early stop leaves whole draws, probes by start."""
        tasks = load_recipe(self.recipe, {**self.starts[0].values, **self.overrides}).tasks
        for task, mode in product(tasks, self.modes):
            points = list(product(self.starts, range(self.draws)))
            if mode is not FineTuning.PROBE:
                points.sort(key=lambda point: point[1])
            yield from (Cell(task, start, mode, own, draw) for (start, draw), own in product(points, self.subsets))

    def values(self, cell: Cell) -> dict[str, Any]:
        """Return the values of the recipe of a cell: one task, the draw's seed."""
        values = recipe_values(self.recipe, cell.mode, cell.start, self.overrides)
        whole = load_recipe(self.recipe, values)
        own = {"seed": whole.seed + cell.draw, "checkpoint.keep_last": 1}
        return {**values, **whole.values_for_one(cell.task), **own}

    def run(self) -> list[Row] | None:
        """Compute the cells that are missing; return the rows of all, None when a stop signal came.

        Raises:
            ConfigError: see :meth:`check`; or the folder holds cells of another study.
        """
        self.check()
        cells, rows, started, computed = list(self.cells()), [], time.monotonic(), 0
        missing = [cell for cell in cells if not self._path(cell).is_file()]
        opened: dict[int, Experiment] = {}
        for place, cell in enumerate(cells, start=1):
            recipe = load_recipe(self.recipe, self.values(cell))
            size = recipe.model.image_size
            if size not in opened:
                opened[size] = self._open(recipe)
            made = self._cell(cell, recipe, opened[size])
            if made is None:
                say("stopped; the same command goes on")
                return None
            rows += made
            if cell in missing:
                computed += 1
                left = (time.monotonic() - started) / computed * (len(missing) - computed)
                say(f"{place} of {len(cells)}: {_told(cell, made)}  {left / 60:.0f} min left")
        return rows

    def _open(self, recipe: Recipe) -> Experiment:
        whole = load_recipe(self.recipe, {**self.overrides, "model.image_size": recipe.model.image_size})
        return open_experiment(whole, data_root=prepare_data_root(whole, self.data_root), report=say)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.stem}.json"

    def _cell(self, cell: Cell, recipe: Recipe, experiment: Experiment) -> list[Row] | None:
        path, identity = self._path(cell), cell_identity(recipe, experiment, cell.start)
        if path.is_file():
            return stored_rows(path, identity)
        began = time.monotonic()
        training = chosen_rows(experiment, cell, seed=recipe.seed - cell.draw)
        scores = self._scores(cell, experiment.for_recipe(recipe), training)
        if scores is None:
            return None
        manifest = experiment.manifests[cell.task.dataset]
        measured = score_rows(
            scores,
            patients_of(manifest, scores.rows),
            split="test",
            model=cell.start.name,
            resamples=recipe.evaluation.resamples if is_writer() else 0,
        )
        about = {
            "start": cell.start.name,
            "mode": cell.mode.value,
            "subset": str(cell.subset),
            "draw": cell.draw,
            "training_images": len(training),
            "training_patients": len(set(patients_of(manifest, training))),
        }
        shown = COLUMNS[cell.task.kind]
        rows = [{**about, **row} for row in measured if row["metric"] in shown or row["metric"].startswith("auc/")]
        if is_writer():
            seconds = round(time.monotonic() - began, 1)
            write_json({"identity": identity, "seconds": seconds, "rows": rows}, path)
            shutil.rmtree(self.folder / "training" / cell.stem, ignore_errors=True)
        wait_for_all()
        return rows

    def _scores(self, cell: Cell, experiment: Experiment, training: NDArray[np.int64]) -> TaskScores | None:
        device = choose_device(self.device)
        if cell.mode is not FineTuning.PROBE:
            return fine_tuned_scores(
                self.recipe,
                self.values(cell),
                experiment,
                training,
                data_root=self.data_root,
                folder=self.folder / "training" / cell.stem,
                device=device,
            )
        # the features of trained weights are those of every draw
        key = (cell.task, cell.start.name, cell.draw if cell.start.name == "random" else 0)
        if key not in self._probed:
            self._probed.clear()
            network = starting_network(experiment, device)
            self._probed[key] = ProbeData.of(
                network, experiment, cell.task, folder=self.folder / "features", device=device
            )
        data = self._probed[key]
        return data.test_scores(data.fit(training))


def _told(cell: Cell, rows: Sequence[Row]) -> str:
    metric = primary_metric(cell.task.kind)
    score = next(number(row["value"]) for row in rows if row["metric"] == metric)
    return f"{cell.task}, {cell.start.name}, {cell.mode.value}, {cell.subset}, draw {cell.draw}: {metric} {score}"


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
