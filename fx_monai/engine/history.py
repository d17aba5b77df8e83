"""What happened in a run: one row per phase and task, one per validation score."""

from __future__ import annotations

import time
from typing import Any

import torch
from ignite.engine import Engine, Events

from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.schedule import Level, Position
from fx_monai.types import Task

Row = dict[str, Any]


class History:
    """Collects mean losses per phase and task, and validation scores; part of every checkpoint.

    Args:
        teacher: whose remaining initial weight is noted at the end of every phase.

    Attributes:
        phases: rows with cycle (from 1), phase_number, dataset, kind, mode, steps, seconds of the phase,
            teacher_initial_weight (before an update that follows the task or the cycle) and mean losses.
        scores: rows with cycle, step, dataset, kind, split, model (``student`` or ``teacher``), metric, value.
        after_task: such rows of evaluations inside a cycle, with ``after`` = the task that was trained last.
    """

    def __init__(self, teacher: EMATeacher | None = None) -> None:
        self.teacher = teacher
        self.phases: list[Row] = []
        self.scores: list[Row] = []
        self.after_task: list[Row] = []
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, dict[str, torch.Tensor]] = {}
        self._counts: dict[str, int] = {}
        self._started = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Sum at every step, write rows at the end of every phase."""
        engine.add_event_handler(ScheduleEvents.PHASE_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._close)

    def _open(self, engine: Engine) -> None:
        if Level.PHASE in engine.state.batch.position.starts:
            self._reset()

    def _add(self, engine: Engine) -> None:
        # sums stay on the device: no synchronisation per step
        for task_batch, output in zip(engine.state.batch.batches, engine.state.output, strict=True):
            sums = self._sums.setdefault(str(task_batch.task), {})
            for name, value in output.items():
                sums[name] = sums.get(name, 0.0) + value
            self._counts[str(task_batch.task)] = self._counts.get(str(task_batch.task), 0) + 1

    def _close(self, engine: Engine) -> None:
        position: Position = engine.state.batch.position
        seconds = round(time.monotonic() - self._started, 3)
        self.phases += [self._row(engine, position, task, seconds) for task in position.phase.tasks]

    def _row(self, engine: Engine, position: Position, task: Task, seconds: float) -> Row:
        count = self._counts[str(task)]
        teacher = {} if self.teacher is None else {"teacher_initial_weight": self.teacher.initial_weight}
        return {
            "cycle": position.cycle + 1,
            "phase_number": position.phase_number,
            "dataset": task.dataset,
            "kind": task.kind.value,
            "mode": position.phase.mode.value,
            "step": engine.state.iteration,
            "steps": count,
            "seconds": seconds,
            **teacher,
            **{name: float(total) / count for name, total in self._sums[str(task)].items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all rows and the sums of the running phase."""
        rows = {"phases": self.phases, "scores": self.scores, "after_task": self.after_task}
        return {**rows, "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.phases, self.scores = list(state["phases"]), list(state["scores"])
        self.after_task = list(state.get("after_task", ()))
        self._sums = {task: dict(sums) for task, sums in state["sums"].items()}
        self._counts = dict(state["counts"])
