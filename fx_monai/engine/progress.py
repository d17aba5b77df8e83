"""Progress of a training, for the person who waits."""

from __future__ import annotations

import sys
import time
from typing import Any

from ignite.engine import Engine, Events
from tqdm import tqdm

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.schedule import Position

_SECONDS = 0.5
"""Between two changes of the bar."""


class Progress:
    """Shows cycle, dataset, task, mode, loss and the time that is left.

    On a terminal this is one moving bar; elsewhere one line per phase.

    Args:
        total_steps: of the run.
        cycles: of the run.
        stream: where to write.
    """

    def __init__(self, *, total_steps: int, cycles: int, stream: Any = None) -> None:
        self.total_steps = total_steps
        self.cycles = cycles
        self.stream = stream or sys.stderr
        self._bar: Any = None
        self._started = (0.0, 0)
        self._shown = 0.0

    def attach(self, engine: Engine) -> None:
        """Update with the run."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(ScheduleEvents.PHASE_STARTED, self._name)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._line)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._close)

    def _open(self, engine: Engine) -> None:
        self._started = (time.monotonic(), engine.state.iteration)
        if self.stream.isatty():
            self._bar = tqdm(
                total=self.total_steps,
                initial=engine.state.iteration,
                file=self.stream,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.05,
            )

    def _name(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_description_str(_describe(engine.state.batch.position, self.cycles))

    def _advance(self, engine: Engine) -> None:
        # reading the loss waits for the device, so that is done now and then only
        if self._bar is not None and time.monotonic() - self._shown > _SECONDS:
            self._shown = time.monotonic()
            self._bar.set_postfix_str(f"loss {_loss(engine):.3f}", refresh=False)
            self._bar.update(engine.state.iteration - self._bar.n)

    def _line(self, engine: Engine) -> None:
        if self._bar is None:
            began, first = self._started
            done = engine.state.iteration - first
            left = (time.monotonic() - began) / max(1, done) * (self.total_steps - engine.state.iteration)
            loss = _loss(engine)
            text = _describe(engine.state.batch.position, self.cycles)
            self.stream.write(
                f"{text}  step {engine.state.iteration}/{self.total_steps}  loss {loss:.3f}  {_clock(left)} left\n"
            )
            self.stream.flush()

    def _close(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.update(engine.state.iteration - self._bar.n)
            self._bar.close()


def _describe(position: Position, cycles: int) -> str:
    return f"cycle {position.cycle + 1}/{cycles}  {position.phase}"


def _loss(engine: Engine) -> float:
    return sum(float(output["loss"]) for output in engine.state.output)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
