"""A training described to MLflow: recipe, datasets and environment at its start, results and model at its end."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import torch
import yaml

from fx_monai import __version__
from fx_monai.apps.environment import environment, installed_packages
from fx_monai.data.catalog import find_dataset
from fx_monai.data.columns import hash_table
from fx_monai.data.splits import PARTS
from fx_monai.shipped import shipped_folder
from fx_monai.tracking.description import DatasetNote, Description
from fx_monai.tracking.model import MODEL_NAME, log_model
from fx_monai.tracking.privacy import without_folders
from fx_monai.tracking.store import TrackingStore
from fx_monai.tracking.tracker import MLflowTracker

if TYPE_CHECKING:
    from fx_monai.apps.experiment import Experiment
    from fx_monai.apps.training import TrainingSession
    from fx_monai.models.foundation_x import FoundationX


def make_tracker(session: TrainingSession) -> MLflowTracker:
    """Return the tracker of a training; the experiment is ``fx_monai`` or what ``MLFLOW_EXPERIMENT_NAME`` says."""
    from fx_monai.apps.training import say

    recipe, stamp = session.recipe, datetime.now().strftime("%Y%m%d-%H%M%S")
    return MLflowTracker(
        TrackingStore(session.tracking_database, say),
        experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or "fx_monai",
        run_name=f"{recipe.name}-seed{recipe.seed}-{stamp}-{uuid.uuid4().hex[:4]}",
        describe=lambda: describe(session.experiment, session.device),
        history=session.history,
    )


def describe(experiment: Experiment, device: torch.device) -> Description:
    """Return what stands in MLflow when a training begins; no folder of this machine, no id of a patient or image."""
    recipe = without_folders(experiment.recipe.model_dump(mode="json"))
    bundle = (shipped_folder("bundle") / "configs" / "metadata.json").read_text(encoding="utf-8")
    return Description(
        parameters=recipe,
        tags={
            "recipe": recipe["name"],
            "fx_monai.version": __version__,
            "fx_monai.bundle_version": str(json.loads(bundle)["version"]),
        },
        tasks={
            task: {
                "recipe": recipe["name"],
                "seed": recipe["seed"],
                "dataset": task.dataset,
                "kind": task.kind.value,
                "classes": list(spec.classes),
                **{f"{part}_images": len(experiment.rows(task, part)) for part in PARTS},
            }
            for task, spec in experiment.specs.items()
        },
        datasets={name: _dataset(experiment, name) for name in experiment.manifests},
        texts={
            "recipe.yaml": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
            "environment/packages.txt": installed_packages(),
            "environment/machine.json": json.dumps(environment(device), indent=2) + "\n",
            "environment/bundle_metadata.json": bundle,
        },
    )


def track_results(
    session: TrainingSession,
    selected: FoundationX,
    rows: Sequence[Mapping[str, Any]],
    *,
    tables: Sequence[Path],
    pictures: Sequence[Path],
) -> None:
    """Write test scores, tables, figures and the selected weights, when the training is tracked.

    Args:
        session: the training.
        selected: the network of the weights file.
        rows: scores of the test split.
        tables: files that tell nothing about single patients.
        pictures: files that show patients; they stay out unless the recipe says otherwise, or they are phantoms.
    """
    from fx_monai.apps.training import say

    tracker = session.tracker
    if tracker is None:
        return
    options, cycles = session.recipe.tracking, session.recipe.schedule.cycles
    tracker.test_rows = [{**row, "cycle": cycles} for row in rows]
    if not tracker.write(insist=True):
        return
    tracker.log_files(tables)
    if options.pictures or session.recipe.demo_cohort:
        tracker.log_files(pictures, "overlays")
    tags = {"recipe": session.recipe.name, "fx_monai.version": __version__, "note": selected.card.statement}

    def action() -> None:
        version = log_model(tracker, session.weights_path, tags, register=options.register_model)
        if version:
            say(f"model       models:/{MODEL_NAME}/{version} in MLflow")

    tracker.store.attempt(action)


def _dataset(experiment: Experiment, name: str) -> DatasetNote:
    manifest, splits = experiment.manifests[name], experiment.splits.by_dataset[name]
    digest = hashlib.sha256()
    # file metadata may name folders; the columns are the data
    hash_table(manifest.table.replace_schema_metadata(None), digest)
    spec = find_dataset(experiment.recipe.datasets[name].catalogue_name(name))
    usable = experiment.usable(name)
    return DatasetNote(
        name=name,
        digest=digest.hexdigest()[:32],
        source=spec.url if spec.url.startswith("http") else "",
        profile={
            "num_rows": len(manifest),
            "patients": pc.count_distinct(manifest.table.column("patient_id")).as_py(),
            **{part: int(np.sum((splits == part) & usable)) for part in PARTS},
            "labels": len(manifest.classes.labels),
            "box_classes": len(manifest.classes.boxes),
            "mask_classes": len(manifest.classes.masks),
        },
    )
