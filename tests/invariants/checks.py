"""What a run does, noted step by step, and the invariants that it has to keep; one check per invariant.

Every check raises AssertionError. The expectations are written out here and don't come from the code that is checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Events
from torch import Tensor, nn

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.schedule import Position, Schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.types import Kind, Mode, Task

# foundation_x.md 1.3 and 1.4: what the modes of a kind train
SHARED = {
    Kind.CLASSIFICATION: ["backbone"],
    Kind.LOCALIZATION: ["backbone", "loc_encoder"],
    Kind.SEGMENTATION: ["backbone", "seg_decoder"],
}
OWN = {
    Kind.CLASSIFICATION: ["cls_head"],
    Kind.LOCALIZATION: ["loc_decoder", "loc_head"],
    Kind.SEGMENTATION: ["seg_head"],
}


def expected_groups(task: Task, mode: Mode) -> set[str]:
    """Return the module groups that a phase has to move."""
    own = {f"{part}.{task.dataset}" for part in OWN[task.kind]}
    return own | set(SHARED[task.kind]) if mode is Mode.RELEASE else own


@dataclass
class PhaseTrace:
    """What one phase did."""

    task: Task
    mode: Mode
    steps: int = 0
    moved: set[str] = field(default_factory=set)
    teacher_error: float = 0.0
    teacher_grads: int = 0


@dataclass
class StepTrace:
    """What one step did."""

    phase: PhaseTrace
    output: dict[str, float]
    norms: dict[str, float]
    rates: set[float]


class Trace:
    """Notes everything; attach before the run."""

    def __init__(self, trainer: CyclicTrainer, *, ema_momentum: float) -> None:
        self.trainer = trainer
        self.ema_momentum = ema_momentum
        self.phases: list[PhaseTrace] = []
        self.steps: list[StepTrace] = []
        trainer.add_event_handler(ScheduleEvents.PHASE_STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        trainer.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._end)

    def _start(self) -> None:
        phase = self.trainer.state.batch.position.phase
        self.phases.append(PhaseTrace(phase.tasks[0], phase.mode))
        self._before = snapshot(self.trainer.network.module_groups())
        self._teacher = clone(self.trainer.teacher.trunk)

    def _step(self) -> None:
        trainer, phase = self.trainer, self.phases[-1]
        phase.steps += 1
        groups = trainer.network.module_groups()
        norms = {name: grad_norm(module) for name, module in groups.items() if grad_norm(module) is not None}
        output = {name: float(value) for name, value in trainer.state.output[0].items()}
        rates = {group["lr"] / group["base_lr"] for group in trainer.optimiser.param_groups}
        self.steps.append(StepTrace(phase, output, norms, rates))

    def _end(self) -> None:
        # the engine has fired its own handlers first, so the teacher has been updated
        phase, teacher = self.phases[-1], self.trainer.teacher
        after = snapshot(self.trainer.network.module_groups())
        phase.moved = {name for name in after if not same(after[name], self._before[name])}
        student, now, m = clone(self.trainer.network.trunk), clone(teacher.trunk), self.ema_momentum
        for (name, value), old in zip(now.items(), self._teacher.values(), strict=True):
            wanted = m * old + (1 - m) * student[name] if value.is_floating_point() else student[name]
            error = float(((value - wanted).abs() / (1 + wanted.abs())).max())
            phase.teacher_error = max(phase.teacher_error, error)
        phase.teacher_grads = sum(p.requires_grad or p.grad is not None for p in teacher.trunk.parameters())


def snapshot(groups: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """Return copies of all parameters and buffers by module group."""
    return {name: clone(module) for name, module in groups.items()}


def clone(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Return whether all tensors are bit-identical."""
    return all(torch.equal(value, other[name]) for name, value in one.items())


def grad_norm(module: nn.Module) -> float | None:
    """Return the norm of all gradients of a module, None if there is none."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else None


def check_lock_release(trace: Trace) -> None:
    """I1 to I5: a phase moves its groups and leaves all others bit-identical, buffers included."""
    for phase in trace.phases:
        assert phase.moved == expected_groups(phase.task, phase.mode), f"{phase.task} {phase.mode}"


def check_teacher(trace: Trace) -> None:
    """I6: m old + (1 - m) student after every phase, integers copied, no gradient."""
    for phase in trace.phases:
        assert phase.teacher_error < 1e-6, f"{phase.task} {phase.mode}: {phase.teacher_error}"
        assert not phase.teacher_grads
    assert trace.trainer.teacher.updates == len(trace.phases)
    assert math.isclose(trace.trainer.teacher.initial_weight, trace.ema_momentum ** len(trace.phases))


def check_lock_lengths(trace: Trace) -> None:
    """I9: LOCK takes half of the batches of RELEASE, rounded down; one of no batch is left out."""
    steps: dict[Task, dict[Mode, int]] = {}
    for phase in trace.phases:
        steps.setdefault(phase.task, {})[phase.mode] = phase.steps
    for task, modes in steps.items():
        lock = 0 if task.kind is Kind.CLASSIFICATION else modes[Mode.RELEASE] // 2
        assert modes.get(Mode.LOCK, 0) == lock, task


def check_order(trace: Trace, datasets: Sequence[str]) -> None:
    """I10: dataset by dataset, in a dataset classification, localization, segmentation, LOCK before RELEASE."""
    kinds, modes = list(Kind), [Mode.LOCK, Mode.RELEASE]
    places = [(datasets.index(p.task.dataset), kinds.index(p.task.kind), modes.index(p.mode)) for p in trace.phases]
    assert places == sorted(set(places))


def check_published_rates(factor: Callable[[int, Position], float], schedule: Schedule) -> None:
    """I10: with 20 tasks 0.05 in the first cycle, 1 in the second, falling afterwards; constant in a cycle."""
    assert len(schedule.tasks) == 20
    per_cycle: list[set[float]] = [set() for _ in range(schedule.cycles)]
    for step in range(schedule.total_steps):
        position = schedule.position(step)
        per_cycle[position.cycle].add(factor(step, position))
    assert all(len(factors) == 1 for factors in per_cycle)
    factors = [factor for (factor,) in per_cycle]
    assert math.isclose(factors[0], 0.05)
    assert math.isclose(factors[1], 1.0, abs_tol=1e-3)
    assert factors[1:] == sorted(set(factors[1:]), reverse=True)


def check_optimiser(optimiser: torch.optim.Optimizer, network: nn.Module) -> None:
    """I11: every parameter stands in exactly one group, and no group is empty."""
    held = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    assert all(group["params"] for group in optimiser.param_groups)


def check_gradients(trace: Trace, clip_norm: float) -> None:
    """I11 and I21: gradients in the active groups only, and the norm that is clipped is theirs."""
    for step in trace.steps:
        assert set(step.norms) == expected_groups(step.phase.task, step.phase.mode)
        norm = step.output["gradient_norm"]
        clipped = math.sqrt(sum(value**2 for value in step.norms.values()))
        assert math.isclose(clipped, min(norm, clip_norm * norm / (norm + 1e-6)), rel_tol=1e-4)


def check_losses(trace: Trace, consistency: float) -> None:
    """LOCK has the task loss alone; RELEASE mixes it with a consistency loss."""
    for step in trace.steps:
        output = step.output
        if step.phase.mode is Mode.LOCK:
            assert "consistency_loss" not in output
            assert output["loss"] == output["task_loss"]
        else:
            mixed = (1 - consistency) * output["task_loss"] + consistency * output["consistency_loss"]
            assert math.isclose(output["loss"], mixed, rel_tol=1e-5)


def check_unknown_labels(loss: Any) -> None:
    """An unknown label has no gradient at all, and doesn't change that of the known ones."""
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([[1.0, 0, torch.nan]] * 4)
    loss(logits, labels).backward()
    assert torch.equal(logits.grad[:, 2], torch.zeros(4))
    alone = logits.detach()[:, :2].requires_grad_()
    loss(alone, labels[:, :2]).backward()
    assert torch.allclose(logits.grad[:, :2], alone.grad)
