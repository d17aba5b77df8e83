"""The data side of the schedule: batches in the order of the phases, from any step on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fx_monai.data.loader import BatchPlan, TaskLoader, load_batches
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
        batches = load_batches(self.loaders, self._plans())
        for step in range(self.start, self.schedule.total_steps):
            position = self.schedule.position(step)
            tasks = [task for task, _ in position.phase.batches(position.step)]
            yield Step(position, tuple(TaskBatch(task, next(batches)) for task in tasks))

    def _plans(self) -> Iterator[tuple[Task, BatchPlan]]:
        """Yield what the batches of the whole run are made of, phase by phase."""
        step = self.start
        while step < self.schedule.total_steps:
            first = self.schedule.position(step)
            sequence = first.phase.sequence
            at = first.step * first.phase.batches_per_step
            totals, done = Counter(sequence), Counter(sequence[:at])
            plans = {
                task: iter(self.loaders[task].plans(first.phase_number, totals[task], start=done[task]))
                for task in first.phase.tasks
            }
            for task in sequence[at:]:
                yield task, next(plans[task])
            step += first.phase.num_steps - first.step
