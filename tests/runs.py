"""Trainings of the tiny recipe without MLflow, for tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from fx_monai.apps.training import TrainingSession
from fx_monai.engine.trainer import CyclicTrainer
from tests.builders import tiny_recipe


class MLFlowHandler:
    """Has the name of MONAI's handler, which takes the place of the own tracking, and does nothing."""

    def attach(self, engine: Engine) -> None:
        """Do nothing."""


def make_session(
    folder: Path, data: Path, *, resume: bool = False, recipe: str = "", **changes: Any
) -> TrainingSession:
    """Return the session of a recipe (default: the tiny one) in a folder; changes by dotted key."""
    if not recipe:
        recipe, changes = str(tiny_recipe(folder.with_suffix(".yaml"), **changes)), {}
    return TrainingSession(recipe, data_root=data, output_dir=folder, resume=resume, overrides=changes)


def train(
    folder: Path, data: Path, *, before: Callable[[CyclicTrainer], None] | None = None, **options: Any
) -> TrainingSession:
    """Train to the end and return the session."""
    session = make_session(folder, data, **options)
    trainer = session.trainer(train_handlers=[MLFlowHandler()])
    if before is not None:
        before(trainer)
    trainer.run()
    return session


def train_and_kill(folder: Path, data: Path, *, step: int, **options: Any) -> None:
    """Train in a process that ends itself with SIGKILL when a step has been computed, before anything is saved."""

    def kill(trainer: CyclicTrainer) -> None:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=step), lambda: os.kill(os.getpid(), signal.SIGKILL))

    process = multiprocessing.get_context("fork").Process(target=_quietly, args=(folder, data, kill, options))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _quietly(folder: Path, data: Path, before: Callable[[CyclicTrainer], None], options: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    train(folder, data, before=before, **options)


def everything(session: TrainingSession) -> dict[str, Any]:
    """Return all that a resumed run must have in common with an uninterrupted one."""
    teacher = session.teacher
    phases = [{k: v for k, v in row.items() if k != "seconds"} for row in session.history.phases]
    return {
        "student": session.network.state_dict(),
        "teacher": teacher.trunk.state_dict() if teacher is not None else {},
        "optimiser": {
            f"{number}.{name}": value
            for number, state in session.optimiser.state_dict()["state"].items()
            for name, value in state.items()
        },
        "rest": {"phases": repr(phases), "scores": repr(session.history.scores), "rng": torch.get_rng_state()},
    }


def assert_same(one: TrainingSession, other: TrainingSession) -> None:
    """Compare two runs bit by bit."""
    for (part, a), b in zip(everything(one).items(), everything(other).values(), strict=True):
        assert a.keys() == b.keys(), part
        for name, value in a.items():
            same = torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
            assert same, f"{part}: {name}"
