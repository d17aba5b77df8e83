"""Handlers of the cyclic trainer: history, validation with selection, checkpoints, stop signals, progress."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from fx_monai.engine.checkpoint import RunState
from fx_monai.engine.events import PhaseEvents
from fx_monai.engine.schedule import Position

Row = dict[str, Any]


class History:
    """Collects one row per phase (mean losses) and one per validation score; part of every checkpoint.

    Attributes:
        phases: rows with cycle (from 1), phase_number, dataset, kind, mode, steps, seconds and mean losses.
        scores: rows with cycle, step, dataset, kind, split, model (``student`` or ``teacher``), metric, value.
    """

    def __init__(self) -> None:
        self.phases: list[Row] = []
        self.scores: list[Row] = []
        self._reset()

    def _reset(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._steps = 0
        self._started = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Sum at every step, write a row at the end of every phase."""
        engine.add_event_handler(PhaseEvents.PHASE_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(PhaseEvents.PHASE_COMPLETED, self._close)

    def _open(self, engine: Engine) -> None:
        if engine.state.batch.position.starts_phase:
            self._reset()

    def _add(self, engine: Engine) -> None:
        # sums stay on the device: no synchronisation per step
        for name, value in engine.state.output[0].items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def _close(self, engine: Engine) -> None:
        position: Position = engine.state.batch.position
        if not self._steps or (self.phases and self.phases[-1]["phase_number"] >= position.phase_number):
            return
        self.phases.append(
            {
                "cycle": position.cycle + 1,
                "phase_number": position.phase_number,
                "dataset": position.phase.task.dataset,
                "kind": position.phase.task.kind.value,
                "mode": position.phase.mode.value,
                "step": engine.state.iteration,
                "steps": self._steps,
                "seconds": round(time.monotonic() - self._started, 3),
                **{name: float(total) / self._steps for name, total in self._sums.items()},
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all rows."""
        return {"phases": self.phases, "scores": self.scores, "sums": self._sums, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all rows."""
        self.phases, self.scores = list(state["phases"]), list(state["scores"])
        self._sums, self._steps = dict(state["sums"]), int(state["steps"])


class Validation:
    """Evaluates student and teacher after chosen cycles and keeps the weights that were best on validation.

    Args:
        evaluate: returns the score rows of the validation split (see :class:`History`) and the mean of the tasks'
            primary metrics per model, e.g. ``{"student": 0.71, "teacher": 0.74}``.
        keep: called with (model name, cycle, mean) when a mean is the best so far; saves the weights. Called with the
            final student and None when no validation score was ever defined.
        every_cycles: interval; the last cycle is always evaluated.
        history: receives the rows.
    """

    def __init__(
        self,
        evaluate: Callable[[], tuple[list[Row], dict[str, float]]],
        keep: Callable[[str, int, float | None], None],
        *,
        every_cycles: int,
        history: History,
    ) -> None:
        self.evaluate = evaluate
        self.keep = keep
        self.every_cycles = every_cycles
        self.history = history
        self.best: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Evaluate at the end of cycles."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Evaluate when the cycle that just ended is due."""
        cycle = engine.state.epoch
        if cycle % self.every_cycles and cycle != engine.state.max_epochs:
            return
        rows, means = self.evaluate()
        self.history.scores += [{"cycle": cycle, "step": engine.state.iteration, **row} for row in rows]
        for model, mean in means.items():
            if not self.best or mean > self.best["mean"]:
                self.best = {"model": model, "cycle": cycle, "mean": mean}
                self.keep(model, cycle, mean)
        if not self.best and cycle == engine.state.max_epochs:
            # no validation score is defined, so nothing can be selected: the final student stands
            self.keep("student", cycle, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the best so far."""
        self.best = dict(state["best"])


class Checkpoints:
    """Saves the run after every cycle, between phases when some time has passed, and when asked to stop.

    SIGTERM and SIGINT save at the end of the running step and end the run cleanly; a second signal ends it at once.

    Args:
        state: what to save.
        path: the file.
        every_seconds: least time between two saves at the end of a phase.
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
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.EXCEPTION_RAISED, self._unlisten)

    def _listen(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopped:
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
        if engine.state.iteration % engine.state.epoch_length == 0:
            return  # the end of a cycle is saved after its evaluation
        position: Position = engine.state.batch.position
        due = position.ends_phase and time.monotonic() - self._last_save >= self.every_seconds
        if due or self.stopped:
            self._save(engine)
        if self.stopped:
            engine.terminate()

    def _after_cycle(self, engine: Engine) -> None:
        self._save(engine)
        if self.stopped:
            engine.terminate()

    def _save(self, engine: Engine) -> None:
        self.state.save(self.path, step=engine.state.iteration)
        self._last_save = time.monotonic()


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

    def attach(self, engine: Engine) -> None:
        """Update with the run."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(PhaseEvents.PHASE_STARTED, self._name)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=5), self._advance)
        engine.add_event_handler(PhaseEvents.PHASE_COMPLETED, self._line)
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
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {float(engine.state.output[0]['loss']):.3f}", refresh=False)
            self._bar.update(engine.state.iteration - self._bar.n)

    def _line(self, engine: Engine) -> None:
        if self._bar is None:
            began, first = self._started
            done = engine.state.iteration - first
            left = (time.monotonic() - began) / max(1, done) * (self.total_steps - engine.state.iteration)
            loss = float(engine.state.output[0]["loss"])
            text = _describe(engine.state.batch.position, self.cycles)
            self.stream.write(
                f"{text}  step {engine.state.iteration}/{self.total_steps}  loss {loss:.3f}  {_clock(left)} left\n"
            )
            self.stream.flush()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.update(self.total_steps - self._bar.n if self._bar.n > self.total_steps - 5 else 0)
            self._bar.close()


def _describe(position: Position, cycles: int) -> str:
    phase = position.phase
    return f"cycle {position.cycle + 1}/{cycles}  {phase.task}  {phase.mode.value.upper()}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def attach_all(engine: Engine, handlers: Sequence[Any]) -> None:
    """Attach handlers in order."""
    for handler in handlers:
        handler.attach(engine)
