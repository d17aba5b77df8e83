"""Overlays of cases: what the network says beside what was annotated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fx_monai.apps.cases import Case
from fx_monai.inference.overlay import draw_overlay
from fx_monai.models.card import ModelCard


def write_overlays(cases: Sequence[Case], folder: Path, *, card: ModelCard) -> list[Path]:
    """Write one picture per case, the prediction in colours and the truth in white; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for case in cases:
        about = f"{case.task}, {case.place}, image {case.name}"
        picture = draw_overlay(
            case.image,
            boxes=[(f"{label} {score:.2f}", box) for label, score, box in case.boxes],
            masks=case.masks,
            truth_boxes=[box for _, box in case.truth_boxes],
            truth_masks=[mask for _, mask in case.truth_masks],
            findings=[
                (f"{'true' if truth else 'not known' if truth is None else 'not true'}: {label}", probability)
                for label, probability, truth in case.findings
            ],
            note=f"{card.statement}; {about}",
        )
        written.append(folder / f"{case.stem}.png")
        picture.save(written[-1])
    return written
