"""Words of the project as types: what a task is, what a phase is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a task predicts. The order is the order of training inside a dataset (Foundation X, Sec. 3)."""

    CLASSIFICATION = "classification"
    LOCALIZATION = "localization"
    SEGMENTATION = "segmentation"


class Mode(StrEnum):
    """LOCK trains only the task's own parameters; RELEASE trains them and all that stands left of them."""

    LOCK = "lock"
    RELEASE = "release"


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
    """One task in one mode for a number of batches.

    Args:
        task: the task that is trained.
        mode: LOCK or RELEASE.
        num_batches: optimiser steps of this phase, at least 1.
    """

    task: Task
    mode: Mode
    num_batches: int
