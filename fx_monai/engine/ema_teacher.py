"""The EMA teacher of the shared parts.

Source: Foundation X (WACV 2025), method figure: the teacher holds backbone, localization encoder and segmentation
decoder; ``teacher = m teacher + (1 - m) student`` after every phase. Deviation from the released code: buffers are
averaged too (integers copied), and no head is part of the teacher.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.ramp import Ramp
from fx_monai.engine.schedule import Level, Schedule
from fx_monai.models.foundation_x import Trunk
from fx_monai.types import Kind

PARTS = ("backbone", "loc_encoder", "seg_decoder")
FEATURES = {"backbone": "backbone", "loc_encoder": "loc_memory", "seg_decoder": "seg_fused"}
"""The feature that each part gives, see :meth:`fx_monai.models.trunk.TrunkOutput.features`."""
_EVENTS = {
    "iteration": Events.ITERATION_COMPLETED,
    "phase": ScheduleEvents.PHASE_COMPLETED,
    "task": ScheduleEvents.TASK_COMPLETED,
    "cycle": ScheduleEvents.CYCLE_COMPLETED,
}


class EMATeacher:
    """Keeps a frozen copy of the student's trunk and moves it towards the student.

    ``trunk`` is the teacher's trunk; parts that it doesn't cover are the student's own modules.

    Args:
        student: the trunk that is trained.
        ema_momentum: m, fraction of the teacher that is kept at an update, over the run.
        update: ``iteration``, ``phase``, ``task`` or ``cycle``: an update follows the end of each.
        total_updates: of the run, for a momentum that changes; see :func:`count_updates`.
        parts: what the teacher covers, see ``PARTS``; the backbone belongs to it, a projector goes with it.

    Raises:
        ValueError: ``parts`` without the backbone.
    """

    def __init__(
        self,
        student: Trunk,
        *,
        ema_momentum: float | Ramp = 0.8,
        update: str = "phase",
        total_updates: int = 1,
        parts: Collection[str] = PARTS,
    ) -> None:
        if "backbone" not in parts:
            raise ValueError(f"the teacher covers {sorted(parts)}; every other part needs the backbone")
        self.student = student
        self.parts = {name: module for name, module in student.named_children() if name in (*parts, "projector")}
        copies = {name: copy.deepcopy(module).eval().requires_grad_(False) for name, module in self.parts.items()}
        self.trunk = copy.copy(student)
        # copy.copy shares the module table, and a change of it would show in the student
        self.trunk.__dict__["_modules"] = {**student._modules, **copies}
        self.trunk.training = False
        self.momentum = Ramp(ema_momentum, ema_momentum) if isinstance(ema_momentum, float | int) else ema_momentum
        self.update_event = update
        self.total_updates = total_updates
        self.updates = 0
        self.initial_weight = 1.0
        """How much of the teacher still is the network the run started from: the product of all momenta."""
        self._copies = nn.ModuleDict(copies)
        self._pairs: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]] | None = None

    def final_weight(self) -> float:
        """Return what :attr:`initial_weight` will be at the end of the run."""
        return math.prod(self.momentum.at(number / max(1, self.total_updates)) for number in range(self.total_updates))

    def attach(self, engine: Engine) -> None:
        """Update at the event that was chosen."""
        engine.add_event_handler(_EVENTS[self.update_event], self.update)

    def covers(self, feature: str) -> bool:
        """Return whether a feature of the trunk comes from parts that the teacher covers."""
        return any(FEATURES[name] == feature for name in self.parts if name in FEATURES)

    @torch.no_grad()
    def features(self, image: Tensor, kind: Kind) -> dict[str, Tensor]:
        """Return the covered features of one branch; see :meth:`fx_monai.models.trunk.Trunk.features`."""
        needed = {Kind.LOCALIZATION: "loc_encoder", Kind.SEGMENTATION: "seg_decoder"}.get(kind, "backbone")
        features = self.trunk.features(image, kind if needed in self.parts else Kind.CLASSIFICATION)
        return {name: value for name, value in features.items() if self.covers(name)}

    @torch.no_grad()
    def update(self) -> None:
        """Move parameters and floating-point buffers by the momentum; copy integer buffers."""
        momentum = self.momentum.at(self.updates / max(1, self.total_updates))
        old_floats, new_floats, old_integers, new_integers = self._pairs or self._collect()
        torch._foreach_lerp_(old_floats, new_floats, 1 - momentum)
        if old_integers:
            torch._foreach_copy_(old_integers, new_integers)
        self.updates += 1
        self.initial_weight *= momentum

    def _collect(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Return the teacher's and the student's floating-point tensors, then their integer tensors."""
        old = [tensor for module in self._copies.values() for tensor in module.state_dict().values()]
        new = [tensor for name in self._copies for tensor in self.parts[name].state_dict().values()]
        pairs = list(zip(old, new, strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        integers = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._pairs = (
            [a for a, _ in floats],
            [b for _, b in floats],
            [a for a, _ in integers],
            [b for _, b in integers],
        )
        return self._pairs

    def state_dict(self) -> dict[str, object]:
        """Return the covered parts' weights, the number of updates and the remaining initial weight."""
        return {"trunk": self._copies.state_dict(), "updates": self.updates, "initial_weight": self.initial_weight}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what :meth:`state_dict` returned; keys must match exactly."""
        self._copies.load_state_dict(state["trunk"])  # type: ignore[arg-type]
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        self.initial_weight = float(state["initial_weight"])  # type: ignore[arg-type]


def count_updates(schedule: Schedule, update: str) -> int:
    """Return how often a teacher is updated in a run."""
    return schedule.total_steps if update == "iteration" else schedule.count(Level(update))
