"""The data side of the schedule: batches in the order of the phases, from any step on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fx_monai.data.loader import TaskLoader
from fx_monai.engine.schedule import Position, Schedule
from fx_monai.types import Task


@dataclass(frozen=True)
class TaskBatch:
    """A batch and the task it belongs to; see :mod:`fx_monai.keys` for the batch's keys."""

    task: Task
    batch: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """The batches of an optimiser step and its place in the schedule."""

    position: Position
    batches: tuple[TaskBatch, ...]


class ScheduleWalker:
    """Yields the steps of the whole run, cycle after cycle.

    Order and augmentation are pure functions of the seed and the phase number, so a run that starts at a later
    step sees exactly what it would have seen without the interruption.

    Args:
        schedule: phases and cycles.
        loaders: one loader per task.
        start: first step to yield, 0 for the beginning of the run.
    """

    def __init__(self, schedule: Schedule, loaders: Mapping[Task, TaskLoader], *, start: int = 0) -> None:
        self.schedule = schedule
        self.loaders = loaders
        self.start = start

    def __len__(self) -> int:
        """Steps of one cycle; Ignite takes it as the length of its epoch."""
        return self.schedule.steps_per_cycle

    def __iter__(self) -> Iterator[Step]:
        step = self.start
        while step < self.schedule.total_steps:
            first = self.schedule.position(step)
            streams = self._open(first)
            for inside in range(first.step, first.phase.num_steps):
                batches = [TaskBatch(task, next(streams[task])) for task, _ in first.phase.batches(inside)]
                yield Step(self.schedule.position(step), tuple(batches))
                step += 1

    def _open(self, first: Position) -> dict[Task, Iterator[dict[str, Any]]]:
        """Return the batches of every task of a phase that are still to come."""
        phase = first.phase
        totals = Counter(phase.sequence)
        done = Counter(phase.sequence[: first.step * phase.batches_per_step])
        return {
            task: self.loaders[task].batches(first.phase_number, totals[task], start=done[task])
            for task in phase.tasks
            if done[task] < totals[task]
        }
