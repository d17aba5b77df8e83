"""Learn from some training images, predict the test split: by training, or by a linear head on fixed features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fx_monai.apps.devices import seed_everything
from fx_monai.apps.evaluation import SELECTED, task_evaluator
from fx_monai.apps.experiment import Experiment
from fx_monai.apps.from_recipe import make_network
from fx_monai.apps.linear_probe import LinearHead, choose_head, collect_statistics, pooled_features
from fx_monai.apps.training import TrainingSession
from fx_monai.data.annotations import task_annotations
from fx_monai.data.records import SplitRecords
from fx_monai.data.splits import PARTS
from fx_monai.keys import LABELS
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.continual import start_from
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.types import Task, TaskSpec

Rows = NDArray[np.int64]


def fine_tuned_scores(
    recipe: str,
    values: Mapping[str, Any],
    experiment: Experiment,
    training: Rows,
    *,
    data_root: str,
    folder: Path,
    device: torch.device,
) -> TaskScores | None:
    """Train on some images, keep what is best on validation, predict test; None when a stop signal came.

    Args:
        recipe: name or file.
        values: of the recipe by dotted key; one task.
        experiment: the data.
        training: manifest rows.
        data_root: see :class:`fx_monai.apps.training.TrainingSession`.
        folder: of the training; a checkpoint in it is gone on with.
        device: where to train.
    """
    (task,) = experiment.specs
    session = TrainingSession(
        recipe,
        data_root=data_root,
        output_dir=folder,
        device=device,
        overrides={**values, "tracking.enabled": False},
        resume=(folder / "checkpoint.pt").is_file(),
        experiment=experiment,
    )
    session.trainer(records=SplitRecords(experiment.manifests, {task.dataset: training})).run()
    if session.checkpoints.stopped:
        return None
    network = load_network(session.weights_path).to(device)
    evaluator = task_evaluator({SELECTED: network}, experiment, "test", device)
    evaluator.run()
    return evaluator.scores[task, SELECTED]


def starting_network(experiment: Experiment, device: torch.device) -> FoundationX:
    """Return the network of the experiment's recipe before any step, in evaluation mode."""
    recipe = experiment.recipe
    seed_everything(recipe.seed)
    network = make_network(recipe, list(experiment.specs.values())).to(device).eval()
    if recipe.init_from:
        start_from(network, Path(recipe.init_from))
    elif network.trunk.backbone.train_norm_statistics:
        for task in experiment.specs:
            dataset = experiment.dataset(task, "train", augmented=False)
            collect_statistics(network, dataset, batch_size=recipe.evaluation.batch_size, device=device)
    return network


@dataclass(frozen=True)
class ProbeData:
    """Features and labels of one task by split, and the manifest rows they belong to."""

    rows: Mapping[str, Rows]
    features: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, NDArray[np.float32]]
    spec: TaskSpec

    @classmethod
    def of(
        cls, network: FoundationX, experiment: Experiment, task: Task, *, folder: Path, device: torch.device
    ) -> ProbeData:
        """Compute the features of a classification task, or read them from the folder.

        Args:
            network: whose features, on the device.
            experiment: the data.
            task: of classification.
            folder: of the features.
            device: where the network is.
        """
        rows = {split: experiment.rows(task, split) for split in PARTS}
        features = {
            split: pooled_features(
                network,
                experiment.dataset(task, split, augmented=False, rows=own),
                batch_size=experiment.recipe.evaluation.batch_size,
                device=device,
                folder=folder,
                data=experiment.fingerprint(),
            )
            for split, own in rows.items()
        }
        labels = {split: known_labels(experiment, task, split, own) for split, own in rows.items()}
        return cls(rows, features, labels, experiment.specs[task])

    def fit(self, training: Rows) -> LinearHead:
        """Return the head that some of the training images give, its strength chosen on validation."""
        own = np.isin(self.rows["train"], training)
        train = (self.features["train"][own], self.labels["train"][own])
        return choose_head(train, (self.features["val"], self.labels["val"]), self.spec)[0]

    def test_scores(self, head: LinearHead) -> ClassificationScores:
        """Return what a head predicts of the test images."""
        logits = head.logits(self.features["test"])
        return ClassificationScores(self.spec, self.rows["test"], logits, self.labels["test"])


def known_labels(experiment: Experiment, task: Task, split: str, rows: Rows) -> NDArray[np.float32]:
    """Return the labels (N, K) of images: by the recipe's policies to train with, what is certain to be scored with."""
    policies = experiment.policies(task.dataset) if split == "train" else experiment.truth(task.dataset)
    manifest, spec = experiment.manifests[task.dataset], experiment.specs[task]
    annotations = task_annotations(manifest, None, spec, policies, experiment.recipe.seed, rows)
    if not len(rows):
        return np.zeros((0, len(spec.classes)), np.float32)
    return np.stack([annotations.of(position)[LABELS] for position in range(len(rows))])
