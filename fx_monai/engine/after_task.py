"""Validation right after a task was trained: the focused scores of Foundation X.

Source: Foundation X (WACV 2025), curves over the pretraining: "focused" is the score of the task that was trained last,
"unfocused" that of the others. Deviation: the scores are those of the validation split, not of the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ignite.engine import Engine

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.history import History, Row
from fx_monai.types import Task


class AfterTask:
    """Evaluates when the last phase of a task in a cycle has ended, in the cycles that are validated.

    A task's own score then is focused; what is scored at the end of a cycle is unfocused for all tasks but the last. An
    order that mixes the tasks has no such moments, and nothing is evaluated.

    Args:
        evaluate: called with tasks and cycle, returns score rows of the validation split; None when it was broken off
            by a stop signal, which leaves a gap in the curve and nothing else.
        every_cycles: as for :class:`fx_monai.engine.validation.Validation`.
        history: receives the rows, with ``after`` = the task that was trained.
        tasks: to evaluate after every task; None = the task alone.
    """

    def __init__(
        self,
        evaluate: Callable[[Sequence[Task], int], Sequence[Row] | None],
        *,
        every_cycles: int,
        history: History,
        tasks: Sequence[Task] | None = None,
    ) -> None:
        self.evaluate = evaluate
        self.every_cycles = every_cycles
        self.history = history
        self.tasks = tasks

    def attach(self, engine: Engine) -> None:
        """Evaluate at the end of tasks, after the teacher was updated."""
        engine.add_event_handler(ScheduleEvents.TASK_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Evaluate when the task that just ended is due."""
        cycle, trained = engine.state.epoch, engine.state.batch.position.phase.tasks
        if len(trained) > 1 or (cycle % self.every_cycles and cycle != engine.state.max_epochs):
            return
        rows = self.evaluate(self.tasks or trained, cycle)
        about = {"cycle": cycle, "step": engine.state.iteration, "after": str(trained[0])}
        self.history.after_task += [{**about, **row} for row in rows or ()]
