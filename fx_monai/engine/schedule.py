"""The schedule: which task is trained when, in which mode and for how long. Pure functions of numbers and names.

Source: Foundation X (Islam et al., WACV 2025), method figure and slide table: dataset by dataset, inside a dataset
classification, localization, segmentation; LOCK for half of the data, then RELEASE for all of it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fx_monai.types import Kind, Mode, Phase, Task


@dataclass(frozen=True)
class Position:
    """Where a step stands in the run.

    Args:
        cycle: 0 for the first cycle.
        phase_number: counts phases over the whole run, so it tells two visits of one phase apart.
        phase: the phase.
        batch: batch of the phase, 0 for the first.
    """

    cycle: int
    phase_number: int
    phase: Phase
    batch: int

    @property
    def starts_phase(self) -> bool:
        """Whether this is the first batch of its phase."""
        return self.batch == 0

    @property
    def ends_phase(self) -> bool:
        """Whether this is the last batch of its phase."""
        return self.batch == self.phase.num_batches - 1


@dataclass(frozen=True)
class Schedule:
    """The phases of one cycle and how often the cycle runs.

    Args:
        phases: of one cycle, in order.
        cycles: number of cycles.
    """

    phases: tuple[Phase, ...]
    cycles: int

    @property
    def steps_per_cycle(self) -> int:
        """Optimiser steps of one cycle."""
        return sum(phase.num_batches for phase in self.phases)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.cycles * self.steps_per_cycle

    def position(self, step: int) -> Position:
        """Return where a step (0 for the first of the run) stands."""
        cycle, rest = divmod(step, self.steps_per_cycle)
        ends = list(accumulate(phase.num_batches for phase in self.phases))
        index = bisect_right(ends, rest)
        phase = self.phases[index]
        return Position(
            cycle=cycle,
            phase_number=cycle * len(self.phases) + index,
            phase=phase,
            batch=rest - (ends[index] - phase.num_batches),
        )


def build_schedule(
    num_batches: Mapping[Task, int],
    *,
    cycles: int,
    lock_fraction: float = 0.5,
    lock_classification: bool = False,
    min_batches: Mapping[Kind, int] | None = None,
    max_batches: int | None = None,
) -> Schedule:
    """Return the schedule of a cyclic run.

    Args:
        num_batches: batches of one full pass per task; datasets keep the order in which they appear first.
        cycles: number of cycles.
        lock_fraction: a LOCK phase has ``floor(lock_fraction * release batches)``; one of 0 batches is left out.
        lock_classification: classification has a LOCK phase too (Foundation X+); otherwise RELEASE only.
        min_batches: per kind, lower limit for RELEASE phases; a small dataset is passed several times.
        max_batches: upper limit for RELEASE phases.
    """
    datasets = list(dict.fromkeys(task.dataset for task in num_batches))
    kinds = list(Kind)
    phases = []
    for task in sorted(num_batches, key=lambda t: (datasets.index(t.dataset), kinds.index(t.kind))):
        release = max(num_batches[task], (min_batches or {}).get(task.kind, 1))
        release = min(release, max_batches or release)
        locks = lock_classification or task.kind is not Kind.CLASSIFICATION
        lock = math.floor(lock_fraction * release) if locks else 0
        if lock:
            phases.append(Phase(task, Mode.LOCK, lock))
        phases.append(Phase(task, Mode.RELEASE, release))
    return Schedule(tuple(phases), cycles)


def learning_rate_factor(step: int, *, total_steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Return the factor on the base learning rates at a step: linear warm-up, then cosine down to a fraction.

    Args:
        step: 0 for the first step.
        total_steps: of the run.
        warmup_steps: steps until the factor reaches 1; the first step has ``1 / warmup_steps``.
        final_fraction: factor at the end of the run.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    progress = min(1.0, max(0.0, (step - warmup_steps) / max(1, total_steps - warmup_steps)))
    return warmup * (final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress)))


def task_order(phases: Sequence[Phase]) -> tuple[Task, ...]:
    """Return the tasks of a cycle in the order of their first phase."""
    return tuple(dict.fromkeys(phase.task for phase in phases))
