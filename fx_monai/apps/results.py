"""What a training leaves behind: the test table (CSV, Markdown, JSON), overlays of test images, learning curves."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fx_monai import __version__
from fx_monai.apps.environment import environment
from fx_monai.apps.figures import learning_curves
from fx_monai.apps.overlays import write_overlays
from fx_monai.apps.tables import score_table, write_csv
from fx_monai.apps.tracking import track_results
from fx_monai.engine.processes import is_writer
from fx_monai.models.weights import load_network, write_weights

if TYPE_CHECKING:
    from fx_monai.apps.training import TrainingSession
    from fx_monai.models.foundation_x import FoundationX


def write_results(session: TrainingSession) -> Path:
    """Calibrate on validation, evaluate on test and write everything into the session's output folder.

    Three models are scored: the final ``student``, the final ``teacher`` (its trunk with the student's heads), and
    ``selected``, the weights that were best on validation and stand in ``model.pt``, whose card receives temperatures
    and operating thresholds.
    """
    from fx_monai.apps.evaluation import SELECTED, calibrate, evaluate_networks, write_cases_and_data, write_evaluation
    from fx_monai.apps.report.page import write_report
    from fx_monai.apps.training import say

    started = time.monotonic()
    selected = load_network(session.weights_path).to(session.device)
    calibration = calibrate(selected, session.experiment, device=session.device)
    selected.card = replace(selected.card, calibration=calibration)
    if is_writer():
        write_weights(selected, selected.card, session.weights_path)
    say("evaluating on the test split ...")
    networks = {**session.networks(), SELECTED: selected}
    evaluation = evaluate_networks(networks, session.experiment, "test", device=session.device)
    out = session.output_dir
    if not is_writer():
        return out
    written = write_evaluation(evaluation, out, stem="results", about=_about(session, selected, evaluation.means))
    write_csv(session.history.phases, out / "phases.csv")
    write_csv(session.history.scores, out / "validation.csv")
    write_csv(session.history.after_task, out / "after_task.csv")
    figure = learning_curves(session.history.scores)
    figure.savefig(out / "learning_curves.png", dpi=120)
    cases = write_cases_and_data(evaluation, session.experiment, selected, out, device=session.device)
    overlays = write_overlays(cases, out / "overlays", card=selected.card)
    report = write_report(out)
    tables = [*written[:2], report, out / "learning_curves.png"]
    track_results(session, selected, evaluation.rows, tables=tables, pictures=overlays)
    say("")
    say(score_table(evaluation.rows, models=tuple(networks)))
    say("")
    say(f"{selected.card.statement}; test split, {time.monotonic() - started:.0f} s")
    say(f"weights     {session.weights_path}  ({selected.card.model} of cycle {selected.card.cycle})")
    say(f"checkpoint  {session.checkpoint_path}")
    say(f"tables      {out / 'results.md'}, results.csv, results.json, validation.csv, phases.csv")
    say(f"predictions {out / 'predictions'}")
    say(f"pictures    {out / 'overlays'}, {out / 'learning_curves.png'}")
    say(f"report      {report}")
    if session.tracker is not None:
        say(f"MLflow      {session.tracker.store.command}")
    return out


def _about(session: TrainingSession, selected: FoundationX, means: Mapping[str, float]) -> dict[str, Any]:
    return {
        "recipe": session.recipe.model_dump(mode="json"),
        "seed": session.recipe.seed,
        "fx_monai": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "environment": environment(session.device),
        "training_seconds": round(sum(row["seconds"] for row in session.history.phases), 1),
        "selected": asdict(selected.card),
        "test_means": dict(means),
    }
