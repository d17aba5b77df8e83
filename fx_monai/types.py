"""Words of the project as types: what a task is, what a phase is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import count


class Kind(StrEnum):
    """What a task predicts. The order is the order of training inside a dataset (Foundation X, Sec. 3)."""

    CLASSIFICATION = "classification"
    LOCALIZATION = "localization"
    SEGMENTATION = "segmentation"


class Mode(StrEnum):
    """LOCK trains only the task's own parameters; RELEASE trains them and all that stands left of them."""

    LOCK = "lock"
    RELEASE = "release"


class Order(StrEnum):
    """The order of a cycle."""

    DATASET = "dataset"
    """Dataset by dataset, inside a dataset kind by kind; every task has phases of its own."""
    INTERLEAVED = "interleaved"
    """One batch of every task in turn, as often as the longest task has batches; shorter ones begin anew."""
    SQRT = "sqrt"
    """Shuffled; a task's share of the batches goes with the square root of its length."""


@dataclass(frozen=True, order=True)
class Task:
    """One dataset and one kind of prediction."""

    dataset: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.dataset}/{self.kind.value}"


@dataclass(frozen=True)
class TaskSpec:
    """A task with its own classes.

    Args:
        task: dataset and kind.
        classes: class names, in the order of the head's outputs.
        exclusive: exactly one class holds per image (classification only), so that softmax and
            cross-entropy apply instead of sigmoid and binary cross-entropy.
    """

    task: Task
    classes: tuple[str, ...]
    exclusive: bool = False


@dataclass(frozen=True)
class Phase:
    """One task in one mode for a number of batches; interleaved orders have phases that mix several tasks.

    Args:
        sequence: the task of every batch, at least one batch.
        mode: LOCK or RELEASE.
        batches_per_step: batches whose gradients are summed for one optimiser step; the last step may have fewer.
    """

    sequence: tuple[Task, ...]
    mode: Mode
    batches_per_step: int = 1

    @classmethod
    def of(cls, task: Task, mode: Mode, num_batches: int) -> Phase:
        """Return the phase of a single task."""
        return cls((task,) * num_batches, mode)

    def __str__(self) -> str:
        name = str(self.tasks[0]) if len(self.tasks) == 1 else f"{len(self.tasks)} tasks"
        return f"{name} {self.mode.value.upper()}"

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The different tasks, in the order of their first batch."""
        return tuple(dict.fromkeys(self.sequence))

    @property
    def num_batches(self) -> int:
        """Batches of this phase."""
        return len(self.sequence)

    @property
    def num_steps(self) -> int:
        """Optimiser steps of this phase."""
        return -(-len(self.sequence) // self.batches_per_step)

    def batches(self, step: int) -> tuple[tuple[Task, int], ...]:
        """Return the batches of a step: their task, and their number among the batches of that task."""
        at = step * self.batches_per_step
        return self._numbered[at : at + self.batches_per_step]

    @cached_property
    def _numbered(self) -> tuple[tuple[Task, int], ...]:
        counts = {task: count() for task in self.tasks}
        return tuple((task, next(counts[task])) for task in self.sequence)
