"""What a training leaves behind: the test table (CSV, Markdown, JSON), overlays of test images, learning curves."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fx_monai import __version__
from fx_monai.apps.figures import learning_curves
from fx_monai.apps.overlays import write_test_overlays
from fx_monai.apps.prediction import RESEARCH_ONLY
from fx_monai.apps.tables import score_table, write_csv
from fx_monai.engine.evaluator import MatrixEvaluator
from fx_monai.engine.history import Row
from fx_monai.engine.processes import is_writer
from fx_monai.files import write_text
from fx_monai.models.weights import load_network

if TYPE_CHECKING:
    from fx_monai.apps.training import TrainingSession

SELECTED = "selected"


def write_results(session: TrainingSession) -> Path:
    """Evaluate on the test split and write everything into the session's output folder.

    Three models are scored: the final ``student``, the final ``teacher`` (its trunk with the student's heads), and
    ``selected``, the weights that were best on validation and stand in ``model.pt``.
    """
    from fx_monai.apps.training import say

    started = time.monotonic()
    selected = load_network(session.weights_path).to(session.device)
    evaluator = MatrixEvaluator(
        device=session.device,
        datasets={task: session.experiment.dataset(task, "test", augmented=False) for task in session.experiment.specs},
        networks={**session.networks(), SELECTED: selected},
        split="test",
        batch_size=session.recipe.evaluation.batch_size,
    )
    say("evaluating on the test split ...")
    evaluator.run()
    out = session.output_dir
    if not is_writer():
        return out
    rows = evaluator.rows + view_rows(session, evaluator)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(rows, out / "results.csv")
    write_csv(session.history.phases, out / "phases.csv")
    write_csv(session.history.scores, out / "validation.csv")
    table = score_table(rows, models=("student", "teacher", SELECTED))
    (out / "results.md").write_text(table + "\n", encoding="utf-8")
    write_json(_result(session, evaluator, rows), out / "results.json")
    figure = learning_curves(session.history.scores)
    figure.savefig(out / "learning_curves.png", dpi=120)
    overlays = write_test_overlays(session.experiment, selected, out / "overlays", device=session.device)
    _track(session, rows, [out / "results.md", out / "results.csv", out / "learning_curves.png", *overlays])
    say("")
    say(table)
    say("")
    note = selected.card.note
    say(f"{'; '.join(filter(None, (RESEARCH_ONLY, note)))}; test split, {time.monotonic() - started:.0f} s")
    say(f"weights     {session.weights_path}  ({selected.card.model} of cycle {selected.card.cycle})")
    say(f"checkpoint  {session.checkpoint_path}")
    say(f"tables      {out / 'results.md'}, results.csv, results.json, validation.csv, phases.csv")
    say(f"pictures    {out / 'overlays'}, {out / 'learning_curves.png'}")
    if session.tracker is not None:
        say(f"MLflow      mlflow ui --backend-store-uri {session.tracker.uri}")
    return out


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result with one score row per line, so that files compare well."""
    rows = ",\n".join(json.dumps(row) for row in result["rows"])
    head = json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=1)
    with write_text(path) as file:
        file.write(f'{head[:-2]},\n "rows": [\n{rows}\n]}}\n')


def view_rows(session: TrainingSession, evaluator: MatrixEvaluator) -> list[Row]:
    """Return the AUC of every classification task within each view that the manifest knows (AP, PA)."""
    rows = []
    for (task, model), scorer in evaluator.scorers.items():
        if task.kind != "classification":
            continue
        views = session.experiment.manifests[task.dataset].column("view")
        for view, scores in scorer.scores_by_group([views[row] for row in scorer.rows]).items():
            if not view:
                continue
            rows += [
                {
                    "dataset": task.dataset,
                    "kind": task.kind.value,
                    "split": evaluator.split,
                    "model": model,
                    "metric": f"{metric}@{view}",
                    "value": value,
                    "images": images,
                }
                for metric, (value, images) in scores.items()
            ]
    return rows


def _result(session: TrainingSession, evaluator: MatrixEvaluator, rows: list[Row]) -> dict[str, Any]:
    return {
        "recipe": session.recipe.model_dump(mode="json"),
        "seed": session.recipe.seed,
        "fx_monai": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "training_seconds": round(sum(row["seconds"] for row in session.history.phases), 1),
        "selected": vars(load_network(session.weights_path).card),
        "test_means": evaluator.means,
        "rows": [{**row, "value": None if row["value"] != row["value"] else round(row["value"], 6)} for row in rows],
    }


def _track(session: TrainingSession, rows: list[Row], files: list[Path]) -> None:
    if session.tracker is None:
        return
    from fx_monai.engine.tracking import score_name

    session.tracker.log_metrics({score_name(row): row["value"] for row in rows}, step=session.recipe.schedule.cycles)
    for path in files:
        session.tracker.log_file(path, "overlays" if path.parent.name == "overlays" else None)
    session.tracker.log_file(session.weights_path, "weights")
