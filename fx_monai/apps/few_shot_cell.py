"""One point of a few-shot study: its name, its training images, what tells it from a point of another study."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai import __version__
from fx_monai.apps.experiment import Experiment
from fx_monai.apps.fine_tuning import FineTuning
from fx_monai.apps.score_rows import patients_of
from fx_monai.apps.starting_point import StartingPoint
from fx_monai.data.subsets import Subset, shown_classes
from fx_monai.errors import ConfigError
from fx_monai.files import file_sha256
from fx_monai.recipe import Recipe
from fx_monai.types import Task

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One point of the study.

    Args:
        task: what is learnt, alone.
        start: where it begins.
        mode: what is trained.
        subset: of the training split.
        draw: number of the subset and of the training's seed.
    """

    task: Task
    start: StartingPoint
    mode: FineTuning
    subset: Subset
    draw: int

    @property
    def stem(self) -> str:
        """Name of the cell's files."""
        subset = str(self.subset).replace(" ", "").replace("%", "percent")
        task = f"{self.task.dataset}.{self.task.kind.value}"
        return f"{task}/{self.start.name.replace('/', '_')}.{self.mode.value}.{subset}.draw{self.draw}"


def chosen_rows(experiment: Experiment, cell: Cell, *, seed: int) -> NDArray[np.int64]:
    """Return the manifest rows of the training images of a cell."""
    task, spec = cell.task, experiment.specs[cell.task]
    rows, manifest = experiment.rows(task, "train"), experiment.manifests[task.dataset]
    shown = shown_classes(manifest, spec, experiment.policies(task.dataset), rows, seed=seed)
    return rows[cell.subset.choose(patients_of(manifest, rows), shown, seed=seed, draw=cell.draw)]


def cell_identity(recipe: Recipe, experiment: Experiment, start: StartingPoint) -> str:
    """Return a hash of all that decides a cell's scores; weights count by content, not by place."""
    content = recipe.model_dump(mode="json", exclude={"description", "checkpoint", "init_from"})
    weights = [Path(str(v)) for k, v in start.values.items() if k in ("init_from", "model.backbone.pretrained")]
    hashes = [file_sha256(path) for path in weights if path.is_file()]
    text = json.dumps([content, experiment.fingerprint(), hashes, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def stored_rows(path: Path, identity: str) -> list[Row]:
    """Return the score rows of a finished cell.

    Raises:
        ConfigError: a cell of another study, or a file that is none.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        found, rows = stored["identity"], list(stored["rows"])
    except (ValueError, KeyError, TypeError):
        found, rows = "", []
    if found != identity:
        raise ConfigError(
            where=str(path),
            problem="the cell was computed with another recipe, other data, weights or version, or is damaged",
            expected="the same, so that the cells can stand in one table",
            remedy="Name another folder with --out, or delete this file",
        )
    return rows
