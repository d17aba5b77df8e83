"""The EMA teacher of the shared parts.

Source: Foundation X (WACV 2025), method figure: the teacher holds backbone, localization encoder and segmentation
decoder; ``teacher = m teacher + (1 - m) student`` after every phase. Deviation from the released code: buffers are
averaged too (integers copied), and no head is part of the teacher.
"""

from __future__ import annotations

import copy

import torch
from ignite.engine import Engine, Events
from torch import nn

from fx_monai.engine.events import PhaseEvents
from fx_monai.models.foundation_x import Trunk


class EMATeacher:
    """Keeps a frozen copy of the student's trunk and moves it towards the student.

    Args:
        student: the trunk that is trained.
        ema_momentum: m, fraction of the teacher that is kept at an update.
        update: ``iteration``, ``phase``, ``task`` (after the last phase of a task) or ``cycle``.
    """

    def __init__(self, student: Trunk, *, ema_momentum: float = 0.8, update: str = "phase") -> None:
        self.student = student
        self.trunk = copy.deepcopy(student).eval().requires_grad_(False)
        self.ema_momentum = ema_momentum
        self.update_event = update
        self.initial_weight = 1.0
        """How much of the teacher still is the network the run started from, ``m ** updates``."""

    def attach(self, engine: Engine) -> None:
        """Update at the event that was chosen."""
        if self.update_event == "iteration":
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        elif self.update_event == "cycle":
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.update)
        elif self.update_event == "task":
            engine.add_event_handler(PhaseEvents.PHASE_COMPLETED, self._update_after_task)
        else:
            engine.add_event_handler(PhaseEvents.PHASE_COMPLETED, self.update)

    @torch.no_grad()
    def update(self) -> None:
        """Move parameters and floating-point buffers by the momentum; copy integer buffers."""
        student = dict(self.student.state_dict())
        for name, value in self.trunk.state_dict().items():
            if value.is_floating_point():
                value.lerp_(student[name], 1 - self.ema_momentum)
            else:
                value.copy_(student[name])
        self.initial_weight *= self.ema_momentum

    def _update_after_task(self, engine: Engine) -> None:
        # RELEASE is the last phase of every task
        if engine.state.batch.position.phase.mode == "release":
            self.update()

    def state_dict(self) -> dict[str, object]:
        """Return the trunk's weights and the remaining initial weight."""
        return {"trunk": self.trunk.state_dict(), "initial_weight": self.initial_weight}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what :meth:`state_dict` returned; keys must match exactly."""
        trunk: nn.Module = self.trunk
        trunk.load_state_dict(state["trunk"])  # type: ignore[arg-type]
        self.initial_weight = float(state["initial_weight"])  # type: ignore[arg-type]
