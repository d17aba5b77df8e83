"""Batches of one task: the order of a phase is a pure function of seed and phase number."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from fx_monai.data.dataset import TaskDataset, collate
from fx_monai.errors import ConfigError
from fx_monai.keys import BOX_LABELS, BOXES, BOXES_ANNOTATED, FILLER, LABELS, MASKS_ANNOTATED
from fx_monai.types import Task


@dataclass(frozen=True)
class BatchPlan:
    """What a batch is made of; cheap to send to a worker process.

    Args:
        samples: (position, draw) of every sample, see :meth:`fx_monai.data.dataset.TaskDataset.sample`.
        own: False for a filler: an image of another process, run for company, which counts for nothing.
    """

    samples: list[tuple[int, int]]
    own: bool = True


class TaskLoader:
    """Training batches of one task.

    Args:
        dataset: samples.
        batch_size: images per batch; the last batch of a pass may be smaller.
        seed: of the order.
        num_workers: data loader processes; 0 = in this process. Batches are the same for any number.
        positive_fraction: share of a pass that is drawn from images that show a finding; None = every image once.
        share: number of this process and of all processes; each takes its part of every batch, and together they see
            what one process would.

    Raises:
        ConfigError: no samples, a batch size below 1, or a fraction outside 0 to 1.
    """

    def __init__(
        self,
        dataset: TaskDataset,
        *,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        positive_fraction: float | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.share = share
        self._check(positive_fraction)
        self._pools: tuple[tuple[NDArray[np.int64], float], ...] = ((np.arange(len(dataset)), 1.0),)
        if positive_fraction is not None:
            positive = dataset.positives()
            pools = ((np.flatnonzero(positive), positive_fraction), (np.flatnonzero(~positive), 1 - positive_fraction))
            if all(len(pool) for pool, _ in pools):
                self._pools = pools

    def _check(self, positive_fraction: float | None) -> None:
        rules = (
            ("the dataset", len(self.dataset), len(self.dataset) >= 1, "at least 1 sample"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("positive_fraction", positive_fraction, 0 <= (positive_fraction or 0) <= 1, "0 to 1"),
        )
        for where, value, holds, expected in rules:
            if not holds:
                raise ConfigError(where=where, problem=f"{value}", expected=expected, remedy="Correct the value")

    @property
    def num_batches(self) -> int:
        """Batches of one pass."""
        return -(-len(self.dataset) // self.batch_size)

    def plans(self, phase_number: int, num_batches: int, *, start: int = 0) -> list[BatchPlan]:
        """Return what the batches of a phase are made of; nothing is decoded.

        Args:
            phase_number: tells the visits of a task apart.
            num_batches: beyond one pass the next permutation follows.
            start: batches to leave out at the beginning.
        """
        number, total = self.share
        shares = ((whole, whole[number::total]) for whole in self._plan(phase_number, num_batches)[start:])
        # a process whose share is empty runs an image of a neighbour
        return [BatchPlan(share) if share else BatchPlan(whole[:1], own=False) for whole, share in shares]

    def load(self, plan: BatchPlan) -> dict[str, Any]:
        """Return the batch of a plan; see :mod:`fx_monai.keys` for its keys."""
        batch = collate([self.dataset.sample(position, draw) for position, draw in plan.samples])
        return batch if plan.own else without_annotations(batch)

    def batches(self, phase_number: int, num_batches: int, *, start: int = 0) -> Iterator[dict[str, Any]]:
        """Return an iterator over the batches of a phase; arguments as in :meth:`plans`."""
        task = self.dataset.spec.task
        plans = ((task, plan) for plan in self.plans(phase_number, num_batches, start=start))
        return load_batches({task: self}, plans)

    def _plan(self, phase_number: int, num_batches: int) -> list[list[tuple[int, int]]]:
        """Return (position, draw) of every sample of every batch."""
        plan: list[list[tuple[int, int]]] = []
        turn = 0
        while len(plan) < num_batches:
            needed = (num_batches - len(plan)) * self.batch_size
            order = self._order(phase_number, turn)[:needed]
            # a draw number that no other phase and turn has
            draw = phase_number * 1000 + turn
            plan += [
                [(int(p), draw) for p in order[at : at + self.batch_size]]
                for at in range(0, len(order), self.batch_size)
            ]
            turn += 1
        return plan

    def _order(self, phase_number: int, turn: int) -> NDArray[np.int64]:
        generator = np.random.default_rng([self.seed, phase_number, turn])
        total = len(self.dataset)
        if len(self._pools) == 1:
            return generator.permutation(total)
        chosen = []
        positives = round(total * self._pools[0][1])
        for (pool, _), wanted in zip(self._pools, (positives, total - positives), strict=True):
            rounds = [generator.permutation(pool) for _ in range(-(-wanted // len(pool)))]
            chosen.append(np.concatenate(rounds)[:wanted] if rounds else pool[:0])
        return generator.permutation(np.concatenate(chosen))


class _Planned(Dataset[dict[str, Any]]):
    """Batches addressed by task and plan."""

    def __init__(self, loaders: Mapping[Task, TaskLoader]) -> None:
        self.loaders = loaders

    def __getitems__(self, address: tuple[Task, BatchPlan]) -> dict[str, Any]:
        task, plan = address
        return self.loaders[task].load(plan)


def load_batches(
    loaders: Mapping[Task, TaskLoader], plans: Iterable[tuple[Task, BatchPlan]]
) -> Iterator[dict[str, Any]]:
    """Return an iterator over the batches of plans, in their order.

    All tasks share the same worker processes, as many as the loader with the most asks for: their number doesn't grow
    with the tasks of a phase, and they stay from phase to phase.

    Args:
        loaders: by task.
        plans: may be made while they are taken.
    """
    workers = max(loader.num_workers for loader in loaders.values())
    return iter(_data_loader(_Planned(loaders), plans, workers, collate_fn=_as_it_is))


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def without_annotations(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch of which nothing is known, so that no loss learns from it; marked as ``filler``."""
    unknown: dict[str, Any] = {**batch, FILLER: True}
    for key in unknown.keys() & {BOXES, BOX_LABELS}:
        unknown[key] = [value[:0] for value in batch[key]]
    for key in unknown.keys() & {BOXES_ANNOTATED, MASKS_ANNOTATED}:
        unknown[key] = torch.zeros_like(batch[key])
    if LABELS in unknown:
        unknown[LABELS] = torch.full_like(batch[LABELS], torch.nan)
    return unknown


def evaluation_batches(
    dataset: TaskDataset, batch_size: int, num_workers: int = 0, *, share: tuple[int, int] = (0, 1)
) -> Iterator[dict[str, Any]]:
    """Return the batches of a dataset in its order, or every so manieth of them.

    Args:
        dataset: samples.
        batch_size: images per batch.
        num_workers: data loader processes.
        share: number of this process and of all processes, which take the batches in turn.
    """
    number, total = share
    starts = range(number * batch_size, len(dataset), total * batch_size)
    batches = [list(range(at, min(at + batch_size, len(dataset)))) for at in starts]
    return iter(_data_loader(dataset, batches, num_workers, collate_fn=collate))


def _data_loader(
    dataset: Dataset[dict[str, Any]], batches: Iterable[Any], num_workers: int, *, collate_fn: Callable[[Any], Any]
) -> DataLoader[dict[str, Any]]:
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate_fn,
        worker_init_fn=_begin_worker,
        # a loader draws a seed for its workers; not from the generator that dropout uses
        generator=torch.Generator(),
    )


def _begin_worker(number: int) -> None:
    # SLURM and Ctrl-C signal the whole group; a worker that died of it would take the run along before it is saved
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # as many threads as cores in every worker would stand in each other's way; PyTorch does this for its own
    cv2.setNumThreads(1)
