"""Overlays of test images: what the network says beside what was annotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fx_monai.apps.experiment import Experiment
from fx_monai.data.columns import present
from fx_monai.data.pixels import to_uint8
from fx_monai.inference.overlay import Box, draw_overlay
from fx_monai.inference.predictor import Predictor
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind

PER_DATASET = 3
MIN_SCORE = 0.3


def write_test_overlays(
    experiment: Experiment, network: FoundationX, folder: Path, *, device: torch.device
) -> list[Path]:
    """Write pictures of the first test images of every dataset that show a finding; return their paths.

    Only the heads of the image's own dataset are drawn, the truth in white.
    """
    predictor = Predictor(network, device=device, threshold=MIN_SCORE)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, manifest in experiment.manifests.items():
        test = np.flatnonzero((experiment.splits.by_dataset[name] == "test") & experiment.usable(name))
        marked = present(manifest.table, "boxes") | present(manifest.table, "masks")
        shown = test[marked[test]] if marked[test].any() else test
        for row in shown[:PER_DATASET].tolist():
            image = to_uint8(experiment.stores[name].image(row))
            prediction = predictor.predict(image, any_image=True)
            record, store = manifest[row], experiment.stores[name]
            matrix = store.frame_to_store(row)
            truth: list[Box] = [
                (
                    b.x1 * matrix[0, 0] + matrix[0, 2],
                    b.y1 * matrix[1, 1] + matrix[1, 2],
                    b.x2 * matrix[0, 0] + matrix[0, 2],
                    b.y2 * matrix[1, 1] + matrix[1, 2],
                )
                for b in record.boxes
                if any(task.dataset == name and task.kind is Kind.LOCALIZATION for task in experiment.specs)
            ]
            picture = draw_overlay(
                image,
                boxes=[
                    (f"{b.label} {b.score:.2f}", (b.x1, b.y1, b.x2, b.y2))
                    for b in prediction.best_boxes()
                    if b.dataset == name
                ],
                masks=[(m.label, m.mask) for m in prediction.masks if m.dataset == name and m.area_px],
                truth_boxes=truth,
                truth_masks=[mask for _, mask in store.masks(row)],
                findings=[(f"{f.dataset}: {f.label}", f.probability) for f in prediction.findings if f.dataset == name],
                note=f"{network.card.statement}; {name}, test image",
            )
            path = folder / f"{name}_{len([p for p in written if p.name.startswith(name)]) + 1}.png"
            picture.save(path)
            written.append(path)
    return written
