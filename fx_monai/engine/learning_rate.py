"""Learning rates as a pure function of the position in the run, and the handler that sets them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from ignite.engine import Engine, Events

from fx_monai.engine.schedule import Position, Schedule

Factor = Callable[[int, Position], float]
"""Factor on the base learning rates, from the step of the run (0 for the first) and its position."""


def factor_by_step(
    step: int, *, total_steps: int, warmup_steps: int, final_fraction: float, release_step: int = 0
) -> float:
    """Return the factor on the base learning rates at a step: linear warm-up, then cosine down to a fraction.

    Args:
        step: 0 for the first step.
        total_steps: of the run.
        warmup_steps: steps until the factor reaches 1; the first step has ``1 / warmup_steps``.
        final_fraction: factor at the end of the run.
        release_step: first step that trains more than the heads; the warm-up begins anew there, since the optimiser
            has seen no gradient of the shared parts, and the cosine waits for it.
    """
    inside = step - release_step if step >= release_step else step
    warmup = min(1.0, (inside + 1) / warmup_steps) if warmup_steps else 1.0
    first = release_step + warmup_steps
    progress = (step - first) / max(1, total_steps - first)
    return warmup * _cosine(progress, final_fraction)


def factor_by_cycle(cycle: int, *, cycles: int, tasks: int, final_fraction: float) -> float:
    """Return the factor that holds for a whole cycle: the first cycle warms up, then cosine down to a fraction.

    Source: released code of Foundation X. Time is counted in visits of a task, from 1; a cycle has the rate of its
    first visit, so with 20 tasks the first cycle runs at 1 / 20, the second at 1.

    Args:
        cycle: 0 for the first cycle.
        cycles: of the run.
        tasks: tasks of a cycle.
        final_fraction: factor that the cosine tends to.
    """
    visit = tasks * cycle + 1
    progress = (visit - tasks) / max(1, tasks * cycles - tasks)
    return min(1.0, visit / tasks) * _cosine(progress, final_fraction)


def _cosine(progress: float, final_fraction: float) -> float:
    bounded = min(1.0, max(0.0, progress))
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * bounded))


def by_step(schedule: Schedule, *, warmup_steps: int, final_fraction: float) -> Factor:
    """Return :func:`factor_by_step` of a schedule."""
    # where the heads stay alone there is no release to wait for
    release_step = schedule.release_step if schedule.head_cycles < schedule.cycles else 0

    def factor(step: int, position: Position) -> float:
        return factor_by_step(
            step,
            total_steps=schedule.total_steps,
            warmup_steps=warmup_steps,
            final_fraction=final_fraction,
            release_step=release_step,
        )

    return factor


def by_cycle(schedule: Schedule, *, final_fraction: float) -> Factor:
    """Return :func:`factor_by_cycle` of a schedule."""

    def factor(step: int, position: Position) -> float:
        return factor_by_cycle(
            position.cycle, cycles=schedule.cycles, tasks=len(schedule.tasks), final_fraction=final_fraction
        )

    return factor


class LearningRate:
    """Handler that sets every group's learning rate before each step, so that a resumed run has it at once.

    Args:
        optimiser: made by :func:`fx_monai.engine.optim.build_optimiser`.
        factor: on the base rates.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, factor: Factor) -> None:
        self.optimiser = optimiser
        self.factor = factor

    def attach(self, engine: Engine) -> None:
        """Set the rates at every ITERATION_STARTED."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the rates of the step that is about to run (Ignite counts it from 1)."""
        factor = self.factor(engine.state.iteration - 1, engine.state.batch.position)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
