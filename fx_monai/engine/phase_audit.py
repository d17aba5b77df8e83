"""Proof of what a phase moved: hashes of every module group before and after."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

import torch
from ignite.engine import Engine
from torch import nn

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.lock_release import trainable_groups

_LOG = logging.getLogger("fx_monai")


class LockBrokenError(RuntimeError):
    """A phase moved a module group that it had locked."""


class PhaseAudit:
    """Handler that hashes all parameters and buffers around every phase; costs a read of the whole network.

    Args:
        groups: the network's module groups.

    Attributes:
        moved: of the last phase, the names of the groups that moved.
    """

    def __init__(self, groups: Mapping[str, nn.Module]) -> None:
        self.groups = groups
        self.moved: tuple[str, ...] = ()
        self._before: dict[str, str] = {}

    def attach(self, engine: Engine) -> None:
        """Hash at PHASE_STARTED, compare at PHASE_COMPLETED."""
        engine.add_event_handler(ScheduleEvents.PHASE_STARTED, self._start)
        engine.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._compare)

    def _start(self) -> None:
        self._before = {name: hash_module(module) for name, module in self.groups.items()}

    def _compare(self, engine: Engine) -> None:
        position = engine.state.batch.position
        self.moved = tuple(name for name, module in self.groups.items() if hash_module(module) != self._before[name])
        _LOG.info("cycle %d, %s moved %s", position.cycle + 1, position.phase, ", ".join(self.moved) or "nothing")
        broken = sorted(set(self.moved) - set(trainable_groups(position.phase, self.groups)))
        if broken:
            raise LockBrokenError(f"{position.phase} moved {', '.join(broken)}, which it had locked")


def hash_module(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, names and bits."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
