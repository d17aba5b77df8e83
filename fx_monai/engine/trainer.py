"""The cyclic trainer: a MONAI engine that walks the schedule. One step reads batch, student, teacher, loss, update."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.trainer import Trainer
from torch import Tensor

from fx_monai.data.dataset import to_device
from fx_monai.data.loader import TaskLoader
from fx_monai.engine.consistency import Consistency
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.finite_loss import FiniteLoss
from fx_monai.engine.lock_release import LockRelease, trainable_groups
from fx_monai.engine.optim import clip_active
from fx_monai.engine.precision import Precision
from fx_monai.engine.processes import mean_buffers, sum_gradients
from fx_monai.engine.ramp import Ramp
from fx_monai.engine.schedule import Level, Schedule
from fx_monai.engine.walker import ScheduleWalker, Step, TaskBatch
from fx_monai.keys import FILLER, IMAGE, TEACHER_IMAGE
from fx_monai.losses.options import LossOptions
from fx_monai.losses.task_loss import initial_loss, task_loss
from fx_monai.models.foundation_x import FoundationX, TaskOutput
from fx_monai.types import Mode, Task

_LOOK_EVERY = 50
"""Losses that wait on a GPU before they are looked at."""


class CyclicTrainer(Trainer):
    """Trains one network on all tasks, phase by phase.

    Ignite's epoch is one cycle. :class:`~fx_monai.engine.events.ScheduleEvents` are fired around cycles, datasets,
    tasks and phases; stock Ignite and MONAI handlers attach as usual. The output of a step is a list with one dict of
    0-d tensors per batch of the step: ``loss`` (what was minimised), ``task_loss``, ``consistency_loss`` (absent in
    LOCK), ``gradient_norm`` of the step, and the parts of the task loss.

    Source: Foundation X (WACV 2025), method figure. ``loss = (1 - c) task loss + c consistency loss`` in RELEASE; in
    LOCK the consistency loss has no gradient, so the teacher isn't run and the task loss has weight 1. A step of
    several batches sums their gradients, batch after batch, so that it needs the memory of the largest one only.

    Args:
        device: where to train.
        max_epochs: number of cycles.
        network: the student, on the device.
        optimiser: holds all parameters of the network.
        schedule: phases and cycles; ``max_epochs`` replaces its number of cycles.
        loaders: one loader per task of the schedule.
        teacher: the EMA teacher, or None to train without.
        consistency: weight c.
        clip_norm: limit of the gradient norm over the parameters active in the phase.
        losses: which losses, where there is a choice.
        class_weights: weights of the classes of classification tasks, (K,); a task that isn't named has none.
        unit_losses: divide every task's loss by what an untrained network has, so that all begin at about 1.
        precision: ``float32``, ``bfloat16`` or ``float16``, see :class:`fx_monai.engine.precision.Precision`.
        train_handlers: attached in order, after Lock-Release and the teacher.
        checkpoints: attached last, when everything of a step, phase or cycle has been done.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        max_epochs: int,
        network: FoundationX,
        optimiser: torch.optim.Optimizer,
        schedule: Schedule,
        loaders: Mapping[Task, TaskLoader],
        teacher: EMATeacher | None = None,
        consistency: float | Ramp = 0.5,
        clip_norm: float = 1.0,
        losses: LossOptions | None = None,
        class_weights: Mapping[Task, Tensor] | None = None,
        unit_losses: bool = False,
        precision: str = "float32",
        train_handlers: Sequence[Any] | None = None,
        checkpoints: Any = None,
    ) -> None:
        self.schedule = replace(schedule, cycles=max_epochs)
        self.walker = ScheduleWalker(self.schedule, loaders)
        super().__init__(device, max_epochs, self.walker, decollate=False, event_names=[ScheduleEvents])
        # an exception is reported by whoever catches it, not by the engine as well
        self.logger.setLevel(logging.CRITICAL)
        self.network = network
        self.optimiser = optimiser
        self.teacher = teacher
        self.consistency = Consistency(teacher, consistency, self.schedule) if teacher is not None else None
        self.clip_norm = clip_norm
        self.losses = losses or LossOptions()
        self.class_weights = {task: weight.to(device) for task, weight in (class_weights or {}).items()}
        self.unit_losses = unit_losses
        self.precision = Precision(precision, self.state.device)
        self.finite_loss = FiniteLoss(every=1 if self.state.device.type == "cpu" else _LOOK_EVERY)
        self._parameters = list(network.parameters())
        self.add_event_handler(Events.ITERATION_STARTED, self._fire_started)
        LockRelease(network.module_groups()).attach(self)
        self.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._share_buffers)
        if teacher is not None and self.consistency is not None:
            self.consistency.attach(self)
            teacher.attach(self)
        self._register_handlers(list(train_handlers or ()))
        # after the handlers of the step, so that a phase ends with its last step counted
        self.add_event_handler(Events.ITERATION_COMPLETED, self._fire_completed)
        if checkpoints is not None:
            checkpoints.attach(self)

    def run(self) -> None:
        """Train to the end; a run that is complete already stays as it is (Ignite would begin it anew)."""
        if self.state.iteration < self.schedule.total_steps:
            super().run()

    def start_at(self, step: int) -> None:
        """Continue at a step of the run (0 = beginning): the next batch is that step's batch."""
        self.walker.start = step
        self.state.iteration = step
        self.state.epoch = step // self.schedule.steps_per_cycle

    def _iteration(self, engine: Engine, step: Step) -> list[dict[str, Tensor]]:
        self.optimiser.zero_grad(set_to_none=True)
        outputs = []
        for task_batch in step.batches:
            outputs.append(self._backward(task_batch, step.position.phase.mode))
            self.finite_loss.add(step, task_batch, outputs[-1]["loss"])
        norm = self._update()
        # a list, as MONAI's own handlers expect it of an engine that trains on batches
        return [{**output, "gradient_norm": norm} for output in outputs]

    def _backward(self, task_batch: TaskBatch, mode: Mode) -> dict[str, Tensor]:
        task, counted = task_batch.task, FILLER not in task_batch.batch
        own = {key: value for key, value in task_batch.batch.items() if key != FILLER}
        batch = to_device(own, self.state.device)
        spec = self.network.specs[task]
        released = mode is Mode.RELEASE
        with self.precision.autocast():
            output = self.network.forward_task(batch[IMAGE], task, trunk_grad=released, batch=batch)
        loss, parts = task_loss(spec, _in_float32(output), batch, self.losses, self.class_weights.get(task))
        result = {"task_loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}
        if self.unit_losses:
            loss = loss / initial_loss(spec, self.losses)
        if released and self.consistency is not None and self.consistency.weight > 0:
            weight = self.consistency.weight
            with self.precision.autocast():
                drift = self.consistency.loss(output.features, batch[TEACHER_IMAGE], task.kind, counted=counted)
            loss = (1 - weight) * loss + weight * drift
            result["consistency_loss"] = drift.detach()
        self.precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach(), **result}

    def _update(self) -> Tensor:
        """Clip and step; return the gradient norm before clipping, ()."""
        scaler = self.precision.scaler
        sum_gradients(self._parameters)
        scaler.unscale_(self.optimiser)
        norm = clip_active(self._parameters, self.clip_norm)
        scaler.step(self.optimiser)
        scaler.update()
        return norm

    def _share_buffers(self) -> None:
        groups = self.network.module_groups()
        names = trainable_groups(self.state.batch.position.phase, groups)
        mean_buffers([groups[name] for name in names])
        if self.teacher is not None:
            mean_buffers([self.teacher.trunk.get_submodule(name) for name in names if name in self.teacher.parts])

    def _fire_started(self) -> None:
        resumed = self.state.iteration - 1 == self.walker.start
        self._fire("started", tuple(Level) if resumed else self.state.batch.position.starts)

    def _fire_completed(self) -> None:
        self._fire("completed", self.state.batch.position.ends)

    def _fire(self, what: str, levels: Iterable[Level]) -> None:
        for level in levels:
            self.fire_event(ScheduleEvents(f"{level}_{what}"))


def _in_float32(output: TaskOutput) -> TaskOutput:
    predictions = {n: v.float() if v.is_floating_point() else v for n, v in output.predictions.items()}
    return replace(output, predictions=predictions)
