"""What a recipe says, as the objects of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from fx_monai.data.loader import TaskLoader
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.learning_rate import LearningRate, by_cycle, by_step
from fx_monai.engine.optim import build_optimiser
from fx_monai.engine.precision import usable_precision
from fx_monai.engine.ramp import Ramp
from fx_monai.engine.schedule import Schedule, build_schedule
from fx_monai.losses.task_loss import class_weight_of
from fx_monai.models.foundation_x import FoundationX
from fx_monai.recipe import Recipe
from fx_monai.types import Task, TaskSpec

_SLOW = 0.1
"""Share of its initial weights above which a teacher at the end of a run is called slow."""


def primary_task(recipe: Recipe) -> Task | None:
    """Return the task whose logits the network returns first, None where the recipe leaves it to the network."""
    return next((task for task in recipe.tasks if str(task) == recipe.primary), None)


def make_network(recipe: Recipe, specs: Sequence[TaskSpec]) -> FoundationX:
    """Return the network of a recipe with a fresh head for every task, on the CPU."""
    return FoundationX(recipe.model, specs, primary=primary_task(recipe))


def make_ramp(start: float, end: float | None) -> Ramp:
    """Return a value that changes over the run, or stays when there is no end."""
    return Ramp(start, start if end is None else end)


def make_teacher(recipe: Recipe, network: FoundationX) -> EMATeacher | None:
    """Return the teacher of a network, None when the recipe has none."""
    section = recipe.teacher
    if not section.enabled:
        return None
    return EMATeacher(
        network.trunk,
        ema_momentum=make_ramp(section.ema_momentum, section.ema_momentum_end),
        update=section.update,
        parts=section.parts,
    )


def note_slow_teacher(teacher: EMATeacher, report: Callable[[str], None]) -> None:
    """Say so when the run is too short for the momentum, and the teacher will still be what it began as."""
    left = teacher.final_weight()
    if left > _SLOW:
        report(
            f"note: after {teacher.total_updates} updates the teacher still is {left:.0%} the network it starts from; "
            "lower teacher.ema_momentum, update more often (teacher.update), or train longer"
        )


def make_optimiser(recipe: Recipe, network: FoundationX) -> torch.optim.AdamW:
    """Return the optimiser over all module groups of a network."""
    section = recipe.optimiser
    return build_optimiser(
        network.module_groups(),
        backbone=section.backbone,
        trunk=section.trunk,
        heads=section.heads,
        weight_decay=section.weight_decay,
    )


def make_schedule(recipe: Recipe, loaders: Mapping[Task, TaskLoader], cycles: int | None) -> Schedule:
    """Return the schedule over the batches of the loaders; ``cycles`` goes before the recipe's."""
    section = recipe.schedule
    return build_schedule(
        {task: loader.num_batches for task, loader in loaders.items()},
        cycles=cycles or section.cycles,
        lock_fraction=section.lock_fraction,
        lock_classification=section.lock_classification,
        lock_release=section.lock_release,
        min_batches=section.min_batches,
        max_batches=section.max_batches,
        head_cycles=section.head_cycles,
        order=section.order,
        batches_per_step=section.accumulate,
        seed=recipe.seed,
    )


def make_learning_rate(recipe: Recipe, optimiser: torch.optim.Optimizer, schedule: Schedule) -> LearningRate:
    """Return the handler of the learning rates."""
    section = recipe.optimiser
    if section.rate_schedule == "cycles":
        return LearningRate(optimiser, by_cycle(schedule, final_fraction=section.final_fraction))
    factor = by_step(schedule, warmup_steps=section.warmup_steps, final_fraction=section.final_fraction)
    return LearningRate(optimiser, factor)


def make_precision(recipe: Recipe, device: torch.device, report: Callable[[str], None]) -> str:
    """Return the precision that the device has; the user hears when it isn't the one of the recipe."""
    wanted = recipe.compute.precision
    usable = usable_precision(wanted, device)
    if usable != wanted:
        report(f"note: {device.type} has no {wanted} arithmetic of its own; training in {usable}")
    return usable


def make_class_weights(recipe: Recipe, loaders: Mapping[Task, TaskLoader]) -> dict[Task, Tensor]:
    """Return the weights of the classes of every task that has some."""
    weights = {}
    for task, loader in loaders.items():
        counts = loader.dataset.label_counts()
        weight = class_weight_of(loader.dataset.spec, recipe.losses, counts) if counts is not None else None
        if weight is not None:
            weights[task] = weight
    return weights
