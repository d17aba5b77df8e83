"""The cyclic trainer: a MONAI engine that walks the schedule. One step reads batch, student, teacher, loss, update."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.trainer import Trainer

from fx_monai.data.dataset import to_device
from fx_monai.data.loader import TaskLoader
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.events import PhaseEvents
from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.optim import clip_active
from fx_monai.engine.schedule import Schedule
from fx_monai.engine.walker import PhaseBatch, ScheduleWalker
from fx_monai.errors import FxError
from fx_monai.keys import IMAGE, TEACHER_IMAGE
from fx_monai.losses.consistency import consistency_loss
from fx_monai.losses.task_loss import task_loss
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Mode, Task


class CyclicTrainer(Trainer):
    """Trains one network on all tasks, phase by phase.

    Ignite's epoch is one cycle. :class:`~fx_monai.engine.events.PhaseEvents` are fired around every phase; stock
    Ignite and MONAI handlers attach as usual. The output of a step is a list of one dict of 0-d tensors: ``loss``
    (what was minimised), ``task_loss``, ``consistency_loss`` (absent in LOCK), ``gradient_norm``, and the parts of the
    task loss.

    Source: Foundation X (WACV 2025), method figure. ``loss = (1 - c) task loss + c consistency loss`` in RELEASE; in
    LOCK the consistency loss has no gradient, so the teacher isn't run and the task loss has weight 1.

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
        consistency: float = 0.5,
        clip_norm: float = 1.0,
        train_handlers: Sequence[Any] | None = None,
        checkpoints: Any = None,
    ) -> None:
        self.schedule = Schedule(schedule.phases, max_epochs)
        self.walker = ScheduleWalker(self.schedule, loaders)
        super().__init__(device, max_epochs, self.walker, decollate=False, event_names=[PhaseEvents])
        # an exception is reported by whoever catches it, not by the engine as well
        self.logger.setLevel(logging.CRITICAL)
        self.network = network
        self.optimiser = optimiser
        self.teacher = teacher
        self.consistency = consistency
        self.clip_norm = clip_norm
        self._parameters = list(network.parameters())
        self.add_event_handler(Events.ITERATION_STARTED, self._fire_phase_started)
        LockRelease(network.module_groups()).attach(self)
        if teacher is not None:
            teacher.attach(self)
        self._register_handlers(list(train_handlers or ()))
        # after the handlers of the step, so that a phase ends with its last step counted
        self.add_event_handler(Events.ITERATION_COMPLETED, self._fire_phase_completed)
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

    def _iteration(self, engine: Engine, item: PhaseBatch) -> list[dict[str, torch.Tensor]]:
        phase, batch = item.position.phase, to_device(item.batch, self.state.device)
        released = phase.mode is Mode.RELEASE

        output = self.network.forward_task(batch[IMAGE], phase.task, trunk_grad=released)
        loss, parts = task_loss(self.network.specs[phase.task], output, batch)
        result = {"task_loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}
        if released and self.teacher is not None and self.consistency > 0:
            with torch.no_grad():
                target = self.teacher.trunk.features(batch[TEACHER_IMAGE], phase.task.kind)
            drift = consistency_loss(output.features, target)
            loss = (1 - self.consistency) * loss + self.consistency * drift
            result["consistency_loss"] = drift.detach()
        if not torch.isfinite(loss):
            raise _not_finite(item, loss)

        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        result["gradient_norm"] = clip_active(self._parameters, self.clip_norm)
        self.optimiser.step()
        # a list, as MONAI's own handlers expect it of an engine that trains on batches
        return [{"loss": loss.detach(), **result}]

    def _fire_phase_started(self) -> None:
        position = self.state.batch.position
        if position.starts_phase or self.state.iteration - 1 == self.walker.start:
            self.fire_event(PhaseEvents.PHASE_STARTED)

    def _fire_phase_completed(self) -> None:
        if self.state.batch.position.ends_phase:
            self.fire_event(PhaseEvents.PHASE_COMPLETED)


def _not_finite(item: PhaseBatch, loss: torch.Tensor) -> FxError:
    position = item.position
    return FxError(
        where=f"cycle {position.cycle + 1}, {position.phase.task}, {position.phase.mode}, batch {position.batch + 1}",
        problem=f"the loss is {loss.item()}, manifest rows {item.batch['row'].tolist()}",
        expected="a finite loss",
        remedy="Lower the learning rates (optimiser.*) or look at these images",
    )
