"""The evaluator: every task of a split, for the student and for the teacher's trunk with the student's heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.workflow import Workflow

from fx_monai.data.dataset import TaskDataset, to_device
from fx_monai.data.loader import evaluation_batches
from fx_monai.engine.processes import gather, rank, world_size
from fx_monai.engine.walker import TaskBatch
from fx_monai.keys import IMAGE
from fx_monai.metrics.scores import TaskScorer, merged, primary_metric
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task

Row = dict[str, Any]

# what is followed during a training, by the part of the name before the class
FOLLOWED = ("auc_macro", "auc", "ap_macro", "ap40", "ap50", "ap50_95", "box_iou", "dice_all", "dice_positive")


class _TaskBatches:
    """This process's batches of all tasks, task after task.

    Every process has the same number, some of them empty (None), so that they can agree after each.
    """

    def __init__(self, datasets: Mapping[Task, TaskDataset], batch_size: int) -> None:
        self.datasets = datasets
        self.batch_size = batch_size

    def __len__(self) -> int:
        return sum(self._rounds(dataset) for dataset in self.datasets.values())

    def __iter__(self) -> Iterator[TaskBatch | None]:
        for task, dataset in self.datasets.items():
            batches = evaluation_batches(dataset, self.batch_size, share=(rank(), world_size()))
            for _ in range(self._rounds(dataset)):
                batch = next(batches, None)
                yield None if batch is None else TaskBatch(task, batch)

    def _rounds(self, dataset: TaskDataset) -> int:
        return -(-len(dataset) // (self.batch_size * world_size()))


class MatrixEvaluator(Workflow):
    """Scores dataset x task x {student, teacher} on one split.

    After :meth:`run`, ``rows`` holds one dict per score (dataset, kind, split, model, metric, value, images) and
    ``state.metrics`` the same values by name; ``means`` holds the mean primary metric per model (AUC, AP@0.4, Dice on
    positive images; undefined ones left out); ``scores`` the predictions and truth of every (task, model). Several
    processes divide the batches; all have the scores of the whole.

    Args:
        device: where to run.
        datasets: un-augmented samples per task; tasks without samples are left out.
        networks: what to score by name, e.g. ``{"student": ..., "teacher": ...}``.
        split: name of the split, part of every row.
        batch_size: images per forward pass.
        detailed: every score instead of those in :data:`FOLLOWED`, Hausdorff distances too; classification images are
            also given to the heads of all other datasets.
        val_handlers: Ignite or MONAI handlers.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        datasets: Mapping[Task, TaskDataset],
        networks: Mapping[str, FoundationX],
        split: str,
        batch_size: int = 32,
        detailed: bool = False,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        self.datasets = {task: dataset for task, dataset in datasets.items() if len(dataset)}
        self.networks = networks
        self.split = split
        self.detailed = detailed
        self.rows: list[Row] = []
        self.means: dict[str, float] = {}
        self.scores: dict[tuple[Task, str], TaskScores] = {}
        self.interrupted: Callable[[], bool] = lambda: False
        """Asked after every batch; True breaks the evaluation off, and it has no scores."""
        super().__init__(device, 1, _TaskBatches(self.datasets, batch_size), decollate=False)
        self.add_event_handler(Events.STARTED, self._begin)
        # before the handlers that follow the scores, which look at the end of the epoch
        self.add_event_handler(Events.EPOCH_COMPLETED, self._score)
        self.add_event_handler(Events.COMPLETED, self._finish)
        self._register_handlers(list(val_handlers or ()))

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate; may be called again after the networks have changed.

        Args:
            global_epoch: cycle of the training, from 1; handlers that follow the scores (MONAI's ``MLFlowHandler``)
                take ``state.epoch`` as their step, as with MONAI's own evaluators.
        """
        self.state.iteration, self.state.epoch, self.state.max_epochs = 0, global_epoch - 1, global_epoch
        if self.datasets:
            super().run()

    def _begin(self) -> None:
        self.rows, self.means, self.state.metrics, self.scores = [], {}, {}, {}
        self._scorers = {
            (task, model): TaskScorer(
                dataset.spec, distances=self.detailed, calibration=network.card.calibration.get(str(task))
            )
            for task, dataset in self.datasets.items()
            for model, network in self.networks.items()
        }
        self._training = {model: network.training for model, network in self.networks.items()}
        for network in self.networks.values():
            network.eval()

    @torch.inference_mode()
    def _iteration(self, engine: Engine, item: TaskBatch | None) -> dict[str, Any]:
        if item is not None:
            batch = to_device(item.batch, self.state.device)
            for model, network in self.networks.items():
                outputs = network.predict_tasks(batch[IMAGE], self._asked(network, item.task))
                own = outputs.pop(item.task)
                self._scorers[item.task, model].add(own, batch, other_heads=outputs)
        if self.interrupted():
            self.terminate()
        return {}

    def _asked(self, network: FoundationX, task: Task) -> list[Task]:
        """Return which heads are asked about a task's images: its own; in detail every head of classification."""
        if self.detailed and task.kind is Kind.CLASSIFICATION:
            return [other for other in network.specs if other.kind is Kind.CLASSIFICATION]
        return [task]

    def _finish(self) -> None:
        for model, network in self.networks.items():
            network.train(self._training[model])

    def _score(self) -> None:
        if self.should_terminate:
            return
        primary: dict[str, list[float]] = {model: [] for model in self.networks}
        for (task, model), scorer in self._scorers.items():
            scores = self.scores[task, model] = merged(gather(scorer), self.datasets[task].rows)
            values = scores.values()
            self.rows += [
                {
                    "dataset": task.dataset,
                    "kind": task.kind.value,
                    "split": self.split,
                    "model": model,
                    "metric": metric,
                    "value": value,
                    "images": scores.num_images,
                }
                for metric, value in values.items()
                if self.detailed or metric.partition("/")[0] in FOLLOWED
            ]
            value = values[primary_metric(task.kind)]
            if value == value:
                primary[model].append(value)
        self.means = {model: sum(values) / len(values) for model, values in primary.items() if values}
        self.state.metrics = {f"{r['dataset']}/{r['kind']}/{r['metric']}/{r['model']}": r["value"] for r in self.rows}
