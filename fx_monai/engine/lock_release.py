"""Lock-Release: apply a phase's trainable module groups, exactly.

Source: Foundation X (WACV 2025), method figure: the lock stands between the shared part and the task's own part.
Deviation from the released code: groups are modules that the network declares, never fragments of names, and a
locked group is in evaluation mode, so that normalisation statistics and stochastic depth stand still too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ignite.engine import Engine
from torch import nn

from fx_monai.engine.events import ScheduleEvents
from fx_monai.models.foundation_x import groups_of
from fx_monai.types import Phase


class LockRelease:
    """Handler that, at the start of a phase, makes the phase's groups trainable and locks all others.

    Args:
        groups: the network's module groups; together they hold every parameter and buffer.
    """

    def __init__(self, groups: Mapping[str, nn.Module]) -> None:
        self.groups = groups

    def attach(self, engine: Engine) -> None:
        """Apply at every PHASE_STARTED of the trainer, also when a phase is resumed."""
        engine.add_event_handler(ScheduleEvents.PHASE_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Apply the phase of the trainer's current batch."""
        self.apply(trainable_groups(engine.state.batch.position.phase, self.groups))

    def apply(self, trainable: Collection[str]) -> None:
        """Make the named groups trainable (train mode, gradients on); lock all others (evaluation mode, off)."""
        unknown = set(trainable) - set(self.groups)
        if unknown:
            raise KeyError(f"no such module group: {sorted(unknown)}; there are {sorted(self.groups)}")
        for name, module in self.groups.items():
            module.train(name in trainable)
            for parameter in module.parameters():
                parameter.requires_grad_(name in trainable)
                if name not in trainable:
                    # weight decay and momentum move a parameter that still has a gradient
                    parameter.grad = None


def trainable_groups(phase: Phase, declared: Collection[str]) -> tuple[str, ...]:
    """Return the names of the module groups, among those the network declares, that a phase trains for its tasks."""
    return tuple(dict.fromkeys(name for task in phase.tasks for name in groups_of(task, phase.mode, declared)))
