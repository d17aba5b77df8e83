"""The page put together: what the run folder holds, brought into the template."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fx_monai import __version__
from fx_monai.apps.evaluation import BRACKETS
from fx_monai.apps.report.data_tables import (
    CountTable,
    conflict_matrix,
    conflict_table,
    dataset_parts,
    image_table,
)
from fx_monai.apps.report.focus import focus_panels
from fx_monai.apps.report.learning import learning_panels
from fx_monai.apps.report.pictures import read_pictures
from fx_monai.apps.report.run_folder import RunFolder
from fx_monai.apps.report.score_curves import curve_panels
from fx_monai.apps.report.score_tables import score_tables
from fx_monai.apps.tables import class_lines, group_lines, number, overall_lines, title_of
from fx_monai.files import write_text
from fx_monai.metrics.scores import primary_metric
from fx_monai.models.card import RESEARCH_ONLY
from fx_monai.tracking.privacy import without_folders
from fx_monai.types import Kind

_TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = {
    "summary": "Summary",
    "learning": "Learning curves",
    "focus": "Focused and unfocused",
    "curves": "Operating curves",
    "cases": "Cases",
    "conflicts": "Label conflicts",
    "data": "Data",
    "environment": "Environment",
}


@dataclass(frozen=True)
class Card:
    """A figure that stands at the top: value, what it is, a remark."""

    value: str
    name: str
    note: str = ""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run; return its path.

    Args:
        folder: of a run that has ended, or what ``fx-monai evaluate --out`` wrote.
        out: file to write; default: ``report.html`` in the folder.

    Raises:
        DataError: the folder holds no results, or they can't be read.
    """
    path = out or folder / "report.html"
    page = render(RunFolder.read(folder))
    with write_text(path) as file:
        file.write(page)
    return path


def render(run: RunFolder) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    selected = run.about.get("selected") or {}
    recipe = run.about.get("recipe")
    first = [row for row in run.rows if row["model"] == run.models[0]]
    focus_model = selected.get("model") or "student"
    conflicts = run.data["label_conflicts"] if run.data else []
    return environment.get_template("report.html.jinja").render(
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        sections=SECTIONS.items(),
        head=_head(run),
        split=run.split,
        model=run.models[0],
        summary=score_tables(overall_lines(first), ("dataset", "model")),
        others=score_tables(overall_lines(run.rows), ("dataset", "model")) if len(run.models) > 1 else [],
        classes=score_tables(class_lines(first), ("dataset", "class", "model")),
        groups=score_tables(group_lines(first), ("dataset", "subgroup", "model")),
        learning=learning_panels(run.tasks, run.validation, run.phases, selected_cycle=int(selected.get("cycle") or 0)),
        focus=focus_panels(run.tasks, run.validation, run.after_task, run.phases, model=focus_model),
        focus_model=focus_model,
        curves=curve_panels(run),
        cases=read_pictures(run.folder / "cases" / run.split),
        data=run.data,
        images=image_table(run.data) if run.data else None,
        datasets=dataset_parts(run.data) if run.data else [],
        conflicts=[conflict_matrix(conflicts), conflict_table(conflicts)] if conflicts else [],
        environment=_environment(run),
        recipe=yaml.safe_dump(without_folders(recipe), sort_keys=False) if isinstance(recipe, Mapping) else "",
    )


def _head(run: RunFolder) -> dict[str, Any]:
    recipe = run.about.get("recipe")
    described = recipe if isinstance(recipe, Mapping) else {"name": str(recipe or run.folder.name)}
    card = run.about.get("selected") or run.about.get("weights") or {}
    note = card.get("note") or ""
    badges = [{"kind": "info", "text": RESEARCH_ONLY}]
    badges += [{"kind": "warn", "text": text} for text in note.split("; ") if text]
    badges += [{"kind": "plain", "text": f"recipe {described['name']}"}]
    if "seed" in run.about:
        badges.append({"kind": "plain", "text": f"seed {run.about['seed']}"})
    resolved = run.folder.resolve().name
    return {
        "title": resolved,
        "description": described.get("description", ""),
        "version": run.about.get("fx_monai", __version__),
        "badges": badges,
        "cards": _cards(run, card),
        "selected_cycle": int(card.get("cycle") or 0),
        "interval_note": f"in grey: {BRACKETS}.",
        "footer": "; ".join(filter(None, (RESEARCH_ONLY.capitalize(), note))) + ". Not a medical device.",
    }


def _cards(run: RunFolder, card: Mapping[str, Any]) -> list[Card]:
    model = run.models[0]
    cards = []
    for kind in Kind:
        tasks = [task for task in run.tasks if task.kind is kind]
        rows = [run.row(task, model, primary_metric(kind)) for task in tasks]
        values = [row["value"] for row in rows if row and row["value"] is not None and not math.isnan(row["value"])]
        if values:
            datasets = f"mean of {len(values)} datasets" if len(values) > 1 else "one dataset"
            cards.append(
                Card(number(sum(values) / len(values)), f"{kind.value}, {title_of(primary_metric(kind))}", datasets)
            )
    cards.append(Card(str(len(run.tasks)), "tasks", f"on {len({task.dataset for task in run.tasks})} datasets"))
    if card.get("cycle"):
        mean = card.get("validation_mean")
        cards.append(
            Card(f"cycle {card['cycle']}", f"selected: the {card['model']}", f"validation mean {number(mean)}")
        )
    if run.about.get("training_seconds"):
        cards.append(Card(_duration(run.about["training_seconds"]), "training", _steps(run)))
    return cards


def _steps(run: RunFolder) -> str:
    return f"{int(max(row['step'] for row in run.phases))} steps" if run.phases else ""


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _environment(run: RunFolder) -> CountTable:
    named = {"fx_monai": "fx_monai", "python": "Python", "torch": "PyTorch"}
    rows = [(name, run.about[key]) for key, name in named.items() if key in run.about]
    stored = run.about.get("environment")
    return CountTable("What the run was made with", ("part", "version"), list(stored.items()) if stored else rows, 2)
