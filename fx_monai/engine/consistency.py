"""The consistency of student and teacher in training: which features, with what weight.

Source: Foundation X (WACV 2025), method figure; Ark (MICCAI 2023) for the weight that grows from 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from ignite.engine import Engine
from torch import Tensor

from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.ramp import Ramp
from fx_monai.engine.schedule import Level, Schedule
from fx_monai.losses.consistency import consistency_loss
from fx_monai.types import Kind


class Consistency:
    """Handler that keeps the weight of the consistency loss, and the function that computes it.

    Args:
        teacher: gives the target.
        weight: c in ``(1 - c) task loss + c consistency loss``, over the run; constant inside a phase.
        schedule: of the run.
    """

    def __init__(self, teacher: EMATeacher, weight: float | Ramp, schedule: Schedule) -> None:
        self.teacher = teacher
        self.ramp = Ramp(weight, weight) if isinstance(weight, float | int) else weight
        self.total_phases = schedule.count(Level.PHASE)
        self.weight = self.ramp.at(0)

    def attach(self, engine: Engine) -> None:
        """Set the weight at every PHASE_STARTED."""
        engine.add_event_handler(ScheduleEvents.PHASE_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        self.weight = self.ramp.at(engine.state.batch.position.phase_number / self.total_phases)

    def loss(self, features: Mapping[str, Tensor], teacher_image: Tensor, kind: Kind, *, counted: bool) -> Tensor:
        """Return the consistency loss of a batch, ().

        Args:
            features: the student's, see :meth:`fx_monai.models.trunk.TrunkOutput.features`.
            teacher_image: (B, 1, S, S), the teacher's view.
            kind: branch that the batch trains.
            counted: see :func:`fx_monai.losses.consistency.consistency_loss`.
        """
        return consistency_loss(features, self.teacher.features(teacher_image, kind), counted=counted)
