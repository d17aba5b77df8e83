"""What a run folder holds, read back for the report; whatever is missing stays empty."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fx_monai.apps.data_summary import FILE as DATA
from fx_monai.apps.predictions import StoredScores, read_predictions
from fx_monai.errors import DataError
from fx_monai.types import Kind, Task

Row = dict[str, Any]

_RESULTS = {"results.json": "test"} | {f"results_{split}.json": split for split in ("test", "val", "train")}
_NUMBERS = ("cycle", "phase_number", "step", "steps", "seconds", "value", "images", "loss", "task_loss")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, or of what ``fx-monai evaluate --out`` wrote.

    Args:
        folder: where they are.
        split: that was evaluated.
        about: what the results say beside the scores: recipe, versions, selected weights.
        rows: score rows of the split.
        validation: score rows of the validation split by cycle; empty when there are none.
        phases: losses by phase; empty when there are none.
        after_task: as ``validation``, inside the cycles, with ``after`` = the task that was trained last.
        data: images, patients and annotations, see :func:`fx_monai.apps.data_summary.data_summary`; None = not stored.
    """

    folder: Path
    split: str
    about: Mapping[str, Any]
    rows: list[Row]
    validation: list[Row]
    phases: list[Row]
    after_task: list[Row]
    data: Mapping[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """Read a folder.

        Raises:
            DataError: it holds no results, or they can't be read.
        """
        found = next((name for name in _RESULTS if (folder / name).is_file()), None)
        if found is None:
            raise DataError(
                where=str(folder),
                problem="it holds no results" if folder.is_dir() else "there is no such folder",
                expected="a run that has ended, or what `fx-monai evaluate --out` wrote",
                remedy="Finish the training with --resume, or name another folder",
            )
        try:
            content = json.loads((folder / found).read_text(encoding="utf-8"))
            rows = content.pop("rows")
            validation, phases, after_task = (_table(folder / name) for name in _TABLES)
            stored = folder / DATA
            data = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else None
            return cls(folder, _RESULTS[found], content, rows, validation, phases, after_task, data)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DataError(
                where=str(folder / found),
                problem=f"the results can't be read ({type(error).__name__})",
                expected="files that a run of fx_monai wrote",
                remedy="Evaluate the weights again with `fx-monai evaluate`",
            ) from error

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks that were evaluated, in the order of the rows."""
        return list(dict.fromkeys(Task(row["dataset"], Kind(row["kind"])) for row in self.rows))

    @cached_property
    def models(self) -> list[str]:
        """The models that were evaluated; the selected one first."""
        return sorted(dict.fromkeys(row["model"] for row in self.rows), key=lambda name: name != "selected")

    @cached_property
    def predictions(self) -> dict[Task, StoredScores]:
        """Stored predictions of the first model; empty when there are none.

        Raises:
            DataError: a file can't be read.
        """
        paths = {
            t: self.folder / "predictions" / self.split / f"{t.dataset}.{t.kind.value}.parquet" for t in self.tasks
        }
        stored = {task: read_predictions(path) for task, path in paths.items() if path.is_file()}
        return {task: own[self.models[0]] for task, own in stored.items() if self.models[0] in own}

    def row(self, task: Task, model: str, metric: str) -> Row | None:
        """Return the row of a score."""
        key = (task.dataset, task.kind.value, model, metric)
        return self._by_key.get(key)

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str, str], Row]:
        return {(row["dataset"], row["kind"], row["model"], row["metric"]): row for row in self.rows}


_TABLES = ("validation.csv", "phases.csv", "after_task.csv")


def _table(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: _number(value) if key in _NUMBERS else value for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _number(text: str) -> float:
    return float(text) if text else float("nan")
