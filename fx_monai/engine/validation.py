"""Validation in training: when, which weights are the best so far, and when to stop early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.history import History, Row
from fx_monai.metrics.scores import primary_metric
from fx_monai.types import Kind

Scores = tuple[Sequence[Row], Mapping[str, float]]


class Validation:
    """Evaluates after chosen cycles and keeps the weights that were best on validation.

    An evaluation that was broken off (by a stop signal or a crash) is made up for by :meth:`catch_up` on resuming.

    Args:
        evaluate: called with the cycle; returns the score rows of the validation split (see :class:`History`) and the
            mean of the tasks' primary metrics per model, e.g. ``{"student": 0.71, "teacher": 0.74}``; None when it was
            broken off.
        keep: called with (model name, cycle, mean) when a mean is the best so far; saves the weights. Called with the
            final student and None when no validation score was ever defined.
        every_cycles: interval; the last cycle is always evaluated.
        history: receives the rows.
        keep_task: called with (model name, cycle, task, value) when the primary metric of a task is the best so far.
        patience: end the run after so many evaluations in a row without a better mean; None = never.

    Attributes:
        best: model, cycle and mean of the best evaluation; empty before the first.
        best_per_task: the same by task, with ``value`` of the task's primary metric.
    """

    def __init__(
        self,
        evaluate: Callable[[int], Scores | None],
        keep: Callable[[str, int, float | None], None],
        *,
        every_cycles: int,
        history: History,
        keep_task: Callable[[str, int, str, float], None] | None = None,
        patience: int | None = None,
    ) -> None:
        self.evaluate = evaluate
        self.keep = keep
        self.every_cycles = every_cycles
        self.history = history
        self.keep_task = keep_task
        self.patience = patience
        self.best: dict[str, Any] = {}
        self.best_per_task: dict[str, dict[str, Any]] = {}
        self._without_gain = 0
        self._pending = 0

    @property
    def exhausted(self) -> bool:
        """Whether the patience has run out."""
        return self.patience is not None and self._without_gain >= self.patience

    def attach(self, engine: Engine) -> None:
        """Evaluate at the end of cycles; a run whose patience has run out doesn't begin again."""
        engine.add_event_handler(Events.STARTED, self._stop_if_exhausted)
        engine.add_event_handler(ScheduleEvents.CYCLE_COMPLETED, self._note_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _note_due(self, engine: Engine) -> None:
        # before anything is saved at this step, so that a run that ends in the evaluation makes up for it
        cycle = engine.state.epoch
        if cycle % self.every_cycles == 0 or cycle == engine.state.max_epochs:
            self._pending = cycle

    def __call__(self, engine: Engine) -> None:
        """Evaluate when the cycle that just ended is due."""
        self.catch_up(engine)
        self._stop_if_exhausted(engine)

    def _stop_if_exhausted(self, engine: Engine) -> None:
        if self.exhausted:
            engine.terminate()

    def catch_up(self, engine: Engine) -> None:
        """Do the evaluation that is due, if one is."""
        cycle = self._pending
        scores = self.evaluate(cycle) if cycle else None
        if scores is None:
            return
        self._pending = 0
        rows, means = scores
        self.history.scores += [{"cycle": cycle, "step": engine.state.iteration, **row} for row in rows]
        self._without_gain += 1
        for model, mean in means.items():
            if not self.best or mean > self.best["mean"]:
                self.best = {"model": model, "cycle": cycle, "mean": mean}
                self._without_gain = 0
                self.keep(model, cycle, mean)
        if not self.best and cycle == engine.state.max_epochs:
            # no validation score is defined, so nothing can be selected: the final student stands
            self.keep("student", cycle, None)
        self._note_tasks(rows, cycle)

    def _note_tasks(self, rows: Sequence[Row], cycle: int) -> None:
        for row in rows:
            task, value = f"{row['dataset']}/{row['kind']}", row["value"]
            if row["metric"] != primary_metric(Kind(row["kind"])) or value != value:
                continue
            if task not in self.best_per_task or value > self.best_per_task[task]["value"]:
                self.best_per_task[task] = {"model": row["model"], "cycle": cycle, "value": value}
                if self.keep_task is not None:
                    self.keep_task(row["model"], cycle, task, value)

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far and what is due."""
        return {
            "best": self.best,
            "best_per_task": self.best_per_task,
            "without_gain": self._without_gain,
            "pending": self._pending,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.best, self.best_per_task = dict(state["best"]), dict(state["best_per_task"])
        self._without_gain, self._pending = int(state["without_gain"]), int(state["pending"])
