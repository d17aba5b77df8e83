"""The data side of the schedule: batches in the order of the phases, from any step on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fx_monai.data.loader import TaskLoader
from fx_monai.engine.schedule import Position, Schedule
from fx_monai.types import Task


@dataclass(frozen=True)
class PhaseBatch:
    """A batch and its place in the schedule; see :mod:`fx_monai.keys` for the batch's keys."""

    position: Position
    batch: dict[str, Any]


class ScheduleWalker:
    """Yields the batches of the whole run, cycle after cycle.

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

    def __iter__(self) -> Iterator[PhaseBatch]:
        step = self.start
        while step < self.schedule.total_steps:
            first = self.schedule.position(step)
            batches = self.loaders[first.phase.task].batches(
                first.phase_number, first.phase.num_batches, start=first.batch
            )
            for batch in batches:
                yield PhaseBatch(self.schedule.position(step), batch)
                step += 1
