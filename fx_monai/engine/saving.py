"""When a run is saved: at intervals, around evaluations, and when it is asked to stop."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ignite.engine import Engine, Events

from fx_monai.engine.checkpoint import RunState
from fx_monai.engine.processes import any_process


class Checkpoints:
    """Saves the run every so many seconds, after every cycle, and when asked to stop.

    SIGTERM and SIGINT save at the end of the running step (an evaluation is broken off) and end the run cleanly. A
    second Ctrl-C ends it at once; a second SIGTERM doesn't, because launchers send it to a process and to its group.
    Whatever else ends it, at most the time since the last save is lost.

    Args:
        state: what to save.
        path: the file.
        every_seconds: time between two saves inside a cycle.
    """

    def __init__(self, state: RunState, path: Path, *, every_seconds: float) -> None:
        self.state = state
        self.path = path
        self.every_seconds = every_seconds
        self.stopped = False
        self._last_save = time.monotonic()
        self._previous: dict[int, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Attach last, so that everything of the step, phase or cycle has been done when the state is saved."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_cycle)
        for event in (Events.COMPLETED, Events.TERMINATE, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self._unlisten)

    def stop_requested(self) -> bool:
        """Return whether any process was asked to stop; all processes must call."""
        (self.stopped,) = any_process(self.stopped)
        return self.stopped

    def _listen(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopped and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stopped = True

        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, stop)

    def _unlisten(self, engine: Engine, error: BaseException | None = None) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
        if error is not None:
            raise error

    def _after_step(self, engine: Engine) -> None:
        due = time.monotonic() - self._last_save >= self.every_seconds
        self.stopped, due = any_process(self.stopped, due)
        if self.stopped or due:
            self._save(engine)
        if self.stopped:
            engine.terminate()

    def _after_cycle(self, engine: Engine) -> None:
        self._save(engine)
        if self.stop_requested():
            engine.terminate()

    def _save(self, engine: Engine) -> None:
        engine.finite_loss.check()
        self.state.save(self.path, step=engine.state.iteration)
        self._last_save = time.monotonic()
