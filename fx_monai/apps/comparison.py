"""Runs beside each other on the same images: scores, differences from the first run, paired intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai.apps.predictions import StoredScores, read_predictions
from fx_monai.apps.tables import COLUMNS, TITLES, markdown, with_difference, with_interval, write_csv, write_json
from fx_monai.errors import ConfigError, DataError, did_you_mean
from fx_monai.files import write_text
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.resampling import Counts, Measured, bootstrap, interval
from fx_monai.metrics.scores import primary_metric
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.task_scores import TaskScores, means
from fx_monai.types import Kind, Task

ALL = "mean over datasets"
# pixels of networks of different input size can't be compared
_LEFT_OUT = ("hd95_px_positive",)

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Args:
        runs: names, the baseline first.
        rows: dataset, kind, metric, run, value, low, high, difference (from the baseline), difference_low,
            difference_high, images, patients.
        notes: what was left out, one sentence each.
    """

    runs: tuple[str, ...]
    rows: list[Row]
    notes: tuple[str, ...]

    def page(self) -> str:
        """Return one Markdown table per kind and the notes."""
        blocks = [_table(self.rows, kind, self.runs) for kind in COLUMNS]
        legend = (
            f"Differences are from {self.runs[0]}. In brackets 95 % intervals by bootstrap over patients, paired: each "
            "resample holds the same images for all runs; * = the interval of the difference doesn't hold 0."
        )
        return "\n\n".join([*filter(None, blocks), legend, *(f"Note: {note}" for note in self.notes)]) + "\n"


def compare_runs(
    folders: Sequence[Path], *, split: str = "test", model: str = "selected", resamples: int = 1000
) -> Comparison:
    """Compare the stored predictions of runs.

    A task is compared on the images that all runs which have it have predicted. A run may lack tasks, as single-task
    baselines do.

    Args:
        folders: of runs, or of what ``fx-monai evaluate --out`` wrote; the first is the baseline. A folder that holds
            runs of different tasks (a network per task) counts as one run.
        split: name of the split.
        model: student, teacher or selected.
        resamples: of the bootstrap.

    Raises:
        ConfigError: fewer than two runs, or a run has no such predictions.
        DataError: predictions can't be read, or classes, images or truth of a task differ.
    """
    if len(folders) < 2:
        raise ConfigError(
            where="fx-monai compare",
            problem=f"{len(folders)} runs",
            expected="at least two, the baseline first",
            remedy="Name the folders of the runs",
        )
    names = _names(folders)
    runs = {name: _read(folder, split, model) for name, folder in zip(names, folders, strict=True)}
    notes: list[str] = []
    aligned: dict[Task, dict[str, StoredScores]] = {}
    for task in sorted({task for run in runs.values() for task in run}, key=lambda t: (list(Kind).index(t.kind), t)):
        own = {name: run[task] for name, run in runs.items() if task in run}
        if len(own) < 2:
            notes.append(f"{task} is in {next(iter(own))} alone and is left out.")
            continue
        aligned[task] = _align(task, own, notes)
    if not aligned:
        raise DataError(
            where="fx-monai compare",
            problem="no task stands in two of the runs",
            expected="runs of the same datasets",
            remedy="Name other runs",
        )
    rows = [row for task, own in aligned.items() for row in _task_rows(task, own, names[0], resamples)]
    for kind in Kind:
        complete = {task: own for task, own in aligned.items() if task.kind is kind and len(own) == len(names)}
        if len(complete) > 1:
            rows += _mean_rows(kind, complete, names[0], resamples)
    return Comparison(names, rows, tuple(notes))


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``.csv`` and ``.json``; return the paths."""
    with write_text(folder / "comparison.md") as file:
        file.write(comparison.page())
    write_csv(comparison.rows, folder / "comparison.csv")
    about = {"runs": list(comparison.runs), "notes": list(comparison.notes), "rows": comparison.rows}
    write_json(about, folder / "comparison.json")
    return [folder / f"comparison.{suffix}" for suffix in ("md", "csv", "json")]


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the folders' own names, whole paths where these are not different."""
    short = [folder.resolve().name for folder in folders]
    names = tuple(short) if len(set(short)) == len(short) else tuple(str(folder) for folder in folders)
    if len(set(names)) < len(names):
        raise ConfigError(
            where="fx-monai compare",
            problem=f"'{next(name for name in names if names.count(name) > 1)}' is named twice",
            expected="different runs",
            remedy="Name each run once",
        )
    return names


def _read(folder: Path, split: str, model: str) -> dict[Task, StoredScores]:
    paths = _prediction_files(folder, split)
    if not paths:
        raise ConfigError(
            where=str(folder),
            problem=f"there are no predictions in predictions/{split}",
            expected="the folder of a finished run, of an evaluation, or of runs of one task each",
            remedy=f"Write them with `fx-monai evaluate WEIGHTS RECIPE --split {split} --out FOLDER`",
        )
    found = {}
    for path in paths:
        models = read_predictions(path)
        if model not in models:
            raise ConfigError(
                where=str(path),
                problem=f"there is no model '{model}'. {did_you_mean(model, models)}".rstrip(),
                expected=f"one of {', '.join(models)}",
                remedy="Name it with --model",
            )
        task = models[model].scores.spec.task
        if task in found:
            raise DataError(
                where=str(folder),
                problem=f"two of its runs have the task {task}",
                expected="runs of different tasks, whose scores stand together as one run",
                remedy="Name the runs themselves",
            )
        found[task] = models[model]
    return found


def _prediction_files(folder: Path, split: str) -> list[Path]:
    """Return the predictions of a run; of a folder of runs (a network per task) those of all of them."""
    own = sorted((folder / "predictions" / split).glob("*.parquet"))
    return own or sorted(folder.glob(f"*/predictions/{split}/*.parquet"))


def _align(task: Task, runs: Mapping[str, StoredScores], notes: list[str]) -> dict[str, StoredScores]:
    """Return the runs' predictions on the images they share, in the same order."""
    first_name, first = next(iter(runs.items()))
    shared = set(first.images.tolist()).intersection(*(own.images.tolist() for own in runs.values()))
    images = [image for image in first.images.tolist() if image in shared]
    if not images:
        raise _differ(task, "the runs share no image", "runs that were evaluated on the same split of the same data")
    most = max(len(own.images) for own in runs.values())
    if len(images) < most:
        notes.append(f"{task}: {len(images)} images are shared by all runs, of up to {most}.")
    aligned = {}
    for name, own in runs.items():
        if own.scores.spec != first.scores.spec:
            raise _differ(task, f"{first_name} and {name} have different classes", "the same classes")
        place = {image: position for position, image in enumerate(own.images.tolist())}
        aligned[name] = own.select(np.array([place[image] for image in images]))
    reference = _truth(aligned[first_name].scores)
    for name, own in aligned.items():
        theirs = _truth(own.scores)
        if len(theirs) != len(reference) or not np.array_equal(theirs, reference, equal_nan=True):
            raise _differ(task, f"{first_name} and {name} were scored against different truth", "the same annotations")
    return aligned


def _truth(scores: TaskScores) -> NDArray[np.float64]:
    """Return the part of the truth that doesn't depend on the size of the network's input."""
    if isinstance(scores, ClassificationScores):
        return scores.labels.astype(np.float64)
    if isinstance(scores, LocalizationScores):
        return np.concatenate([[len(own.labels), *own.labels] for own in scores.truth]).astype(np.float64)
    assert isinstance(scores, SegmentationScores)
    return scores.annotated.astype(np.float64)


def _task_rows(task: Task, runs: Mapping[str, StoredScores], baseline: str, resamples: int) -> list[Row]:
    patients = next(iter(runs.values())).patients
    # the same patients and seed: the same resamples for all runs
    drawn = {name: bootstrap(own.scores.measure, patients, resamples=resamples, seed=0) for name, own in runs.items()}
    values = {name: own.scores.values() for name, own in runs.items()}
    common: Row = {"dataset": task.dataset, "kind": task.kind.value, "images": len(patients)}
    common["patients"] = len(set(patients.tolist()))
    metrics = [m for m in COLUMNS[task.kind] if m not in _LEFT_OUT and all(m in own for own in values.values())]
    return [
        row
        for metric in metrics
        for row in _rows(
            {**common, "metric": metric},
            {name: own[metric] for name, own in values.items()},
            {name: own.get(metric, np.zeros(0)) for name, own in drawn.items()},
            baseline,
        )
    ]


def _mean_rows(
    kind: Kind, tasks: Mapping[Task, Mapping[str, StoredScores]], baseline: str, resamples: int
) -> list[Row]:
    """Return the rows of the mean over datasets; a patient who stands in several is drawn for all of them."""
    metric = primary_metric(kind)
    first = [next(iter(own.values())) for own in tasks.values()]
    patients = np.unique(np.concatenate([own.patients for own in first]))
    names = list(next(iter(tasks.values())))

    def measure(counts: Counts) -> Measured:
        counts = np.hstack([np.ones((len(patients), 1), np.float32), counts])
        per_run = {}
        for name in names:
            own = [runs[name] for runs in tasks.values()]
            each = [s.scores.measure(counts[np.searchsorted(patients, s.patients)])[metric] for s in own]
            per_run[name] = np.stack(each)
        return {name: values[1:] for name, values in means(per_run).items()}

    common = {
        "dataset": ALL,
        "kind": kind.value,
        "images": sum(own.scores.num_images for own in first),
        "patients": len(patients),
        "metric": metric,
    }
    values = {name: float(value[0]) for name, value in measure(np.ones((len(patients), 1), np.float32)).items()}
    drawn = bootstrap(measure, patients, resamples=resamples, seed=0)
    return _rows(common, values, {name: drawn.get(name, np.zeros(0)) for name in names}, baseline)


def _rows(
    common: Row, values: Mapping[str, float], drawn: Mapping[str, NDArray[np.float64]], baseline: str
) -> list[Row]:
    rows = []
    for name, value in values.items():
        low, high = interval(drawn[name])
        row = {**common, "run": name, "value": value, "low": low, "high": high}
        paired = name != baseline and baseline in values
        ends = interval(drawn[name] - drawn[baseline]) if paired else (math.nan, math.nan)
        row["difference"] = value - values[baseline] if paired else math.nan
        row["difference_low"], row["difference_high"] = ends
        rows.append(row)
    return rows


def _table(rows: Sequence[Row], kind: str, runs: Sequence[str]) -> str:
    own = [row for row in rows if row["kind"] == kind]
    if not own:
        return ""
    cells: dict[tuple[str, str], dict[str, Row]] = {}
    for row in own:
        cells.setdefault((row["dataset"], row["metric"]), {})[row["run"]] = row
    header = [kind, "metric", "images", runs[0]]
    for run in runs[1:]:
        header += [run, "difference"]
    lines = []
    for (dataset, metric), line in cells.items():
        first = next(iter(line.values()))
        cell = [dataset, TITLES[metric], str(first["images"]), with_interval(line.get(runs[0]))]
        for run in runs[1:]:
            cell += [with_interval(line.get(run)), with_difference(line.get(run))]
        lines.append(cell)
    return markdown(header, lines)


def _differ(task: Task, problem: str, expected: str) -> DataError:
    return DataError(
        where=f"fx-monai compare, task {task}",
        problem=problem,
        expected=expected,
        remedy="Evaluate the runs again with the same recipe, data and split",
    )
