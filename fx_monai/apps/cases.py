"""Cases: the best, the median and the worst image of every task, with what was predicted and what is true.

Images go by the first digits of the hash that stands in the stored predictions: a name that tells nobody's number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fx_monai.apps.experiment import Experiment
from fx_monai.apps.predictions import hashed
from fx_monai.data.pixels import to_uint8
from fx_monai.files import write_text
from fx_monai.inference.overlay import Box
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.result import Prediction
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.cases import QUALITY, choose_cases, quality_per_image
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Task

MIN_SCORE = 0.3
NAME_DIGITS = 8
FILE = "cases.json"


@dataclass(frozen=True)
class Case:
    """One image of one task, in pixels of the network's input.

    Args:
        task: of the case.
        place: best, median or worst.
        name: of the image, anonymous.
        quality: see :func:`fx_monai.metrics.cases.quality_per_image`.
        measure: what the quality is.
        image: (S, S) uint8.
        findings: (label, probability, truth: 1, 0 or None = unknown) of a classification task.
        boxes: (label, score, corners), best first.
        truth_boxes: (label, corners).
        masks: (label, (S, S) mask).
        truth_masks: the same.
    """

    task: Task
    place: str
    name: str
    quality: float
    measure: str
    image: NDArray[np.uint8]
    findings: Sequence[tuple[str, float, int | None]] = ()
    boxes: Sequence[tuple[str, float, Box]] = ()
    truth_boxes: Sequence[tuple[str, Box]] = ()
    masks: Sequence[tuple[str, NDArray[Any]]] = ()
    truth_masks: Sequence[tuple[str, NDArray[Any]]] = ()

    @property
    def stem(self) -> str:
        """Name of the case's files."""
        return f"{self.task.dataset}_{self.task.kind.value}_{self.place}"


def find_cases(
    scores: Mapping[Task, TaskScores], experiment: Experiment, network: FoundationX, *, device: torch.device
) -> list[Case]:
    """Return the cases of every task.

    Args:
        scores: of the network.
        experiment: whose images were scored.
        network: predicts the chosen images once more.
        device: where to predict.
    """
    predictor = Predictor(network, device=device, threshold=MIN_SCORE)
    cases = []
    for task, own in scores.items():
        ids = experiment.manifests[task.dataset].table.column("image_id").take(own.rows).to_pylist()
        names = hashed(f"{task.dataset}/{image}" for image in ids)
        quality = quality_per_image(own)
        for place, at in choose_cases(quality, names).items():
            image = to_uint8(experiment.stores[task.dataset].image(int(own.rows[at])))
            predicted = predictor.predict(image, any_image=True)
            about = (task, place, names[at][:NAME_DIGITS], float(quality[at]), QUALITY[type(own)], image)
            cases.append(Case(*about, **_shown(predicted, own, at, experiment)))
    return cases


def write_cases(cases: Sequence[Case], folder: Path) -> Path:
    """Write ``cases.json`` and one grey PNG per case; return the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        Image.fromarray(case.image).save(folder / f"{case.stem}.png", optimize=True)
    with write_text(folder / FILE) as file:
        json.dump([_as_json(case) for case in cases], file, indent=1)
        file.write("\n")
    return folder / FILE


def _shown(predicted: Prediction, scores: TaskScores, at: int, experiment: Experiment) -> dict[str, Any]:
    """Return what is drawn of an image: prediction and truth of the one task."""
    task, classes = scores.spec.task, scores.spec.classes
    if isinstance(scores, ClassificationScores):
        own = [f for f in predicted.findings if f.dataset == task.dataset]
        truth = [int(value) if value in (0, 1) else None for value in scores.labels[at].tolist()]
        return {"findings": [(f.label, f.probability, t) for f, t in zip(own, truth, strict=True)]}
    if isinstance(scores, LocalizationScores):
        return {
            "boxes": [
                (b.label, b.score, (b.x1, b.y1, b.x2, b.y2))
                for b in predicted.best_boxes()
                if b.dataset == task.dataset
            ],
            "truth_boxes": _boxes(scores.truth[at], classes),
        }
    assert isinstance(scores, SegmentationScores)
    names = experiment.manifests[task.dataset].classes.masks
    stored = experiment.stores[task.dataset].masks(int(scores.rows[at]))
    return {
        "masks": [(m.label, m.mask) for m in predicted.masks if m.dataset == task.dataset and m.area_px],
        "truth_masks": [(names[index], mask) for index, mask in stored if names[index] in classes],
    }


def _boxes(truth: ImageBoxes, classes: Sequence[str]) -> list[tuple[str, Box]]:
    pairs = zip(truth.labels.tolist(), truth.boxes_xyxy.tolist(), strict=True)
    return [(classes[label], (box[0], box[1], box[2], box[3])) for label, box in pairs]


def _as_json(case: Case) -> dict[str, Any]:
    return {
        "dataset": case.task.dataset,
        "kind": case.task.kind.value,
        "place": case.place,
        "image": case.name,
        "quality": round(case.quality, 4),
        "measure": case.measure,
        "file": f"{case.stem}.png",
        "side": len(case.image),
        "findings": [
            {"label": label, "probability": round(probability, 4), "truth": truth}
            for label, probability, truth in case.findings
        ],
        "boxes": [{"label": label, "score": round(score, 4), "box": _rounded(box)} for label, score, box in case.boxes],
        "truth_boxes": [{"label": label, "box": _rounded(box)} for label, box in case.truth_boxes],
        "masks": [{"label": label, "outlines": _outlines(mask)} for label, mask in case.masks],
        "truth_masks": [{"label": label, "outlines": _outlines(mask)} for label, mask in case.truth_masks],
    }


def _rounded(box: Box) -> list[float]:
    return [round(value, 1) for value in box]


def _outlines(mask: NDArray[Any]) -> list[list[list[int]]]:
    """Return the outlines of a mask's parts and holes as points (x, y)."""
    found, _ = cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [own[:, 0].tolist() for own in found if len(own) > 2]
