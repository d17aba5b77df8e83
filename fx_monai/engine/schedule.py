"""The schedule: which task is trained when, in which mode and for how long. Pure functions of numbers and names.

Source: Foundation X (Islam et al., WACV 2025), method figure and slide table: dataset by dataset, inside a dataset
classification, localization, segmentation; LOCK for half of the data, then RELEASE for all of it. The interleaved order
and the accumulated step are those of UMedPT (Nature Computational Science 2024), the square root of the data's size as
sampling weight that of MultiTalent (MICCAI 2023).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np

from fx_monai.types import Kind, Mode, Order, Phase, Task


class Level(StrEnum):
    """What a cycle is divided into, from the outside in."""

    CYCLE = "cycle"
    DATASET = "dataset"
    TASK = "task"
    PHASE = "phase"


@dataclass(frozen=True)
class Position:
    """Where a step stands in the run.

    Args:
        cycle: 0 for the first cycle.
        phase_number: counts phases over the whole run, so it tells two visits of one phase apart.
        phase: the phase.
        step: optimiser step of the phase, 0 for the first.
        starts: what begins with this step, from the outside in.
        ends: what ends with this step, from the inside out.
    """

    cycle: int
    phase_number: int
    phase: Phase
    step: int
    starts: tuple[Level, ...] = ()
    ends: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """The phases of one cycle and how often the cycle runs.

    Args:
        phases: of one cycle, in order.
        cycles: number of cycles.
        head_cycles: in the first so many cycles every phase is LOCK, so that new heads settle before anything that is
            shared moves.
    """

    phases: tuple[Phase, ...]
    cycles: int
    head_cycles: int = 0

    @property
    def steps_per_cycle(self) -> int:
        """Optimiser steps of one cycle."""
        return self._ends[-1]

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.cycles * self.steps_per_cycle

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order of their first phase."""
        return tuple(dict.fromkeys(task for phase in self.phases for task in phase.tasks))

    def position(self, step: int) -> Position:
        """Return where a step (0 for the first of the run) stands."""
        cycle, rest = divmod(step, self.steps_per_cycle)
        index = bisect_right(self._ends, rest)
        phase = (self._locked if cycle < self.head_cycles else self.phases)[index]
        inside = rest - (self._ends[index] - phase.num_steps)
        first, last = self._borders[index]
        return Position(
            cycle=cycle,
            phase_number=cycle * len(self.phases) + index,
            phase=phase,
            step=inside,
            starts=first if inside == 0 else (),
            ends=last if inside == phase.num_steps - 1 else (),
        )

    def count(self, level: Level) -> int:
        """Return how many cycles, visits of a dataset, visits of a task, or phases the whole run has."""
        return self.cycles * sum(level in starts for starts, _ in self._borders)

    @property
    def release_step(self) -> int:
        """The step with which the first cycle begins that isn't for the heads alone."""
        return min(self.head_cycles, self.cycles) * self.steps_per_cycle

    @cached_property
    def _locked(self) -> tuple[Phase, ...]:
        return tuple(replace(phase, mode=Mode.LOCK) for phase in self.phases)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(phase.num_steps for phase in self.phases))

    @cached_property
    def _borders(self) -> list[tuple[tuple[Level, ...], tuple[Level, ...]]]:
        """Per phase of a cycle, what starts with its first and what ends with its last step."""
        groups = [tuple(_levels(phase)) for phase in self.phases]
        starts = [_changed(before, own) for before, own in zip((None, *groups), groups, strict=False)]
        ends = [_changed(after, own) for after, own in zip((*groups[1:], None), groups, strict=True)]
        return [(first, last[::-1]) for first, last in zip(starts, ends, strict=True)]


def build_schedule(
    num_batches: Mapping[Task, int],
    *,
    cycles: int,
    order: Order = Order.DATASET,
    batches_per_step: int | Literal["all"] = 1,
    lock_fraction: float = 0.5,
    lock_classification: bool = False,
    lock_release: bool = True,
    min_batches: Mapping[Kind, int] | None = None,
    max_batches: int | None = None,
    head_cycles: int = 0,
    seed: int = 0,
) -> Schedule:
    """Return the schedule of a cyclic run.

    Args:
        num_batches: batches of one full pass per task; datasets keep the order in which they appear first.
        cycles: number of cycles.
        order: of the batches in a cycle. All but ``dataset`` have one LOCK and one RELEASE phase of all tasks.
        batches_per_step: batches whose gradients one optimiser step sums; ``all`` = as many as there are tasks.
        lock_fraction: a LOCK phase has ``floor(lock_fraction * release batches)``; one of 0 batches is left out.
        lock_classification: classification has a LOCK phase too (Foundation X+); otherwise RELEASE only.
        lock_release: off makes the LOCK phases RELEASE phases of the same length.
        min_batches: per kind, lower limit for RELEASE phases; a small dataset is passed several times.
        max_batches: upper limit for RELEASE phases.
        head_cycles: see :class:`Schedule`.
        seed: of the shuffled order.
    """
    datasets = list(dict.fromkeys(task.dataset for task in num_batches))
    kinds = list(Kind)
    lengths = []
    for task in sorted(num_batches, key=lambda t: (datasets.index(t.dataset), kinds.index(t.kind))):
        release = max(num_batches[task], (min_batches or {}).get(task.kind, 1))
        release = min(release, max_batches or release)
        locks = lock_classification or task.kind is not Kind.CLASSIFICATION
        lengths.append((task, math.floor(lock_fraction * release) if locks else 0, release))
    first = Mode.LOCK if lock_release else Mode.RELEASE
    if order is Order.DATASET:
        sequences = [
            (mode, [task] * length)
            for task, lock, release in lengths
            for mode, length in ((first, lock), (Mode.RELEASE, release))
        ]
    else:
        mix = _interleaved if order is Order.INTERLEAVED else _shuffled_by_root
        locked = {task: lock for task, lock, _ in lengths if lock}
        released = {task: release for task, _, release in lengths}
        sequences = [(first, mix(locked, seed)), (Mode.RELEASE, mix(released, seed))]
    per_step = len(lengths) if batches_per_step == "all" else batches_per_step
    phases = tuple(Phase(tuple(tasks), mode, per_step) for mode, tasks in sequences if tasks)
    return Schedule(phases, cycles, head_cycles)


def _interleaved(lengths: Mapping[Task, int], seed: int) -> list[Task]:
    return list(lengths) * max(lengths.values(), default=0)


def _shuffled_by_root(lengths: Mapping[Task, int], seed: int) -> list[Task]:
    """Return as many batches as there are in all; at least one per task."""
    tasks, total = list(lengths), sum(lengths.values())
    roots = np.sqrt(list(lengths.values()))
    shares = np.maximum(1, np.floor(total * roots / roots.sum())).astype(int) if tasks else np.zeros(0, int)
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(tasks)), shares))
    return [tasks[index] for index in order]


def _levels(phase: Phase) -> Iterator[object]:
    """Yield what tells the dataset, the task and the phase of a phase from those of its neighbour."""
    yield tuple(dict.fromkeys(task.dataset for task in phase.tasks))
    yield phase.tasks
    yield object()


def _changed(neighbour: tuple[object, ...] | None, own: tuple[object, ...]) -> tuple[Level, ...]:
    """Return the levels at which a phase differs from its neighbour (None: the border of the cycle)."""
    levels = tuple(Level)
    if neighbour is None:
        return levels
    outermost = next(i for i, (a, b) in enumerate(zip(neighbour, own, strict=True), start=1) if a != b)
    return levels[outermost:]
