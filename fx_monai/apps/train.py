"""``fx-monai train``: a training from start to end, or what it would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.apps.training import TrainingSession, say
from fx_monai.engine.processes import leave


def run_training(
    recipe: str,
    *,
    data_root: str,
    output_dir: str,
    device: str = "",
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Train, select on validation, evaluate on test; the verb ``fx-monai train``."""
    session = TrainingSession(
        recipe,
        data_root=data_root,
        output_dir=output_dir,
        device=device,
        overrides=overrides,
        resume=resume,
        read_only=dry_run,
    )
    if dry_run:
        _describe(session)
        return
    session.trainer().run()
    session.finish()
    leave()


def train_to_the_end(
    recipe: str,
    *,
    data_root: Path,
    folder: Path,
    device: str,
    overrides: Mapping[str, Any],
    tracking_database: Path | None = None,
) -> bool:
    """Train and test once, or go on with what the folder holds; return False when a stop signal came.

    Args:
        recipe: name or file.
        data_root: see :class:`TrainingSession`.
        folder: of the training.
        device: "" = first GPU, else CPU.
        overrides: values of the recipe by dotted key.
        tracking_database: see :class:`TrainingSession`.
    """
    session = TrainingSession(
        recipe,
        data_root=data_root,
        output_dir=folder,
        device=device,
        overrides=overrides,
        resume=(folder / "checkpoint.pt").is_file(),
        tracking_database=tracking_database,
    )
    session.trainer().run()
    session.finish()
    return not session.checkpoints.stopped


def _describe(session: TrainingSession) -> None:
    schedule = session.schedule()
    say(f"{len(schedule.phases)} phases, {schedule.steps_per_cycle} steps a cycle, {schedule.total_steps} in all")
    if schedule.head_cycles:
        say(f"the first {min(schedule.head_cycles, schedule.cycles)} of {schedule.cycles} cycles train the heads alone")
    for phase in schedule.phases:
        say(f"  {phase!s:52s}{phase.num_batches:5d} batches{phase.num_steps:5d} steps")
    for name, module in session.network.module_groups().items():
        say(f"  {name:44s}{sum(p.numel() for p in module.parameters()) / 1e6:8.2f} M parameters")
    total = sum(p.numel() for p in session.network.parameters())
    say(f"{total / 1e6:.2f} M parameters; {math.ceil(16 * total / 1e6)} MB for weights, gradients and optimiser")
