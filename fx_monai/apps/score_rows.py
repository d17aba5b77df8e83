"""Score rows: every score of every task with its interval, over all images and within subgroups of patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest
from fx_monai.metrics.resampling import bootstrap, interval
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.types import Task

Row = dict[str, Any]

# what is measured within a subgroup, by the part of the name before the class
GROUP_METRICS = ("auc_macro", "auc", "ap_macro", "ap", "ap40", "cpm", "dice_all", "dice_positive")
AGE_BANDS = ((0, 18, "age 0-17"), (18, 40, "age 18-39"), (40, 65, "age 40-64"), (65, 121, "age 65+"))


def score_rows(
    scores: TaskScores, patients: Sequence[str], *, split: str, model: str, resamples: int, group: str = ""
) -> list[Row]:
    """Return one row per score: dataset, kind, split, model, metric, value, images, patients, low, high.

    Args:
        scores: of one task and model.
        patients: one per image.
        split: name of the split.
        model: name of the model.
        resamples: of the bootstrap by patient; 0 = no interval (NaN).
        group: subgroup that the images are; stands behind the metric, ``auc_macro@PA``. Only :data:`GROUP_METRICS`.
    """
    task = scores.spec.task
    drawn = bootstrap(scores.measure, np.asarray(patients), resamples=resamples)
    rows = []
    for metric, value in scores.values().items():
        if group and metric.partition("/")[0] not in GROUP_METRICS:
            continue
        low, high = interval(drawn[metric]) if resamples else (math.nan, math.nan)
        rows.append(
            {
                "dataset": task.dataset,
                "kind": task.kind.value,
                "split": split,
                "model": model,
                "metric": f"{metric}@{group}" if group else metric,
                "value": value,
                "images": scores.num_images,
                "patients": len(set(patients)),
                "low": low,
                "high": high,
            }
        )
    return rows


def subgroup_rows(scores: TaskScores, manifest: Manifest, *, split: str, model: str, resamples: int) -> list[Row]:
    """Return the rows of every view, sex and age band that the manifest tells apart; images of unknown group are out.

    A division with one group only says nothing new and is left out.
    """
    rows = []
    patients = np.array(patients_of(manifest, scores.rows))
    for names in divisions(manifest, scores.rows):
        groups = sorted(set(names) - {""})
        for group in groups if len(groups) > 1 else ():
            chosen = names == group
            rows += score_rows(
                scores.select(chosen),
                patients[chosen].tolist(),
                split=split,
                model=model,
                resamples=resamples,
                group=group,
            )
    return rows


def divisions(manifest: Manifest, rows: NDArray[np.int64]) -> list[NDArray[np.str_]]:
    """Return, by view, by sex and by age band, the group of each image, "" where unknown."""
    chosen = manifest.table.take(rows)
    view, sex = (np.array(chosen.column(name).to_pylist(), dtype=str) for name in ("view", "sex"))
    ages = chosen.column("age_years").to_pylist()
    return [view, sex, np.array([age_band(age) for age in ages], dtype=str)]


def age_band(age_years: float | None) -> str:
    """Return the name of the age band, "" for an unknown age."""
    if age_years is None or math.isnan(age_years):
        return ""
    return next((name for first, end, name in AGE_BANDS if first <= age_years < end), "")


def patients_of(manifest: Manifest, rows: NDArray[np.int64]) -> list[str]:
    """Return the patient of each image; an image of unknown patient counts as a patient of its own."""
    chosen = manifest.table.take(rows)
    pairs = zip(chosen.column("patient_id").to_pylist(), chosen.column("image_id").to_pylist(), strict=True)
    return [patient or f"{manifest.dataset}/{image}" for patient, image in pairs]


def all_rows(
    scores: Mapping[tuple[Task, str], TaskScores],
    manifests: Mapping[str, Manifest],
    *,
    split: str,
    resamples: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Return the rows of every task and model, over all images first, then by subgroup."""
    overall, within = [], []
    for number, ((task, model), own) in enumerate(scores.items(), start=1):
        manifest = manifests[task.dataset]
        patients = patients_of(manifest, own.rows)
        overall += score_rows(own, patients, split=split, model=model, resamples=resamples)
        within += subgroup_rows(own, manifest, split=split, model=model, resamples=resamples)
        if progress:
            progress(number, len(scores))
    return overall + within
