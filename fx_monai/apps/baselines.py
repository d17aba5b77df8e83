"""Trivial baselines that need no network: the mean mask and the mean box of the training split.

python -m fx_monai.apps.baselines real_small --data-root DATA --out baselines.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fx_monai.apps.experiment import Experiment, open_experiment
from fx_monai.files import write_text
from fx_monai.keys import BOX_LABELS, BOXES, MASKS, MASKS_ANNOTATED
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.dice import dice_per_image, mean_where
from fx_monai.metrics.mean_ap import iou_of_best_box
from fx_monai.metrics.ranking import macro
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)


def baseline_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Return score rows of the test split, model ``baseline``.

    Segmentation: the mean training mask, cut at the threshold that is best on training. Localization of classes that
    stand once in every image: the mean training box. Classification: 0.5, by definition of the AUC.
    """
    rows = []
    for task in experiment.specs:
        if task.kind is Kind.CLASSIFICATION:
            metric, value = "auc_macro", 0.5
        elif task.kind is Kind.SEGMENTATION:
            metric, value = "dice_positive", _mean_mask_dice(experiment, task)
        else:
            metric, value = "box_iou", _mean_box_iou(experiment, task)
        images = len(experiment.rows(task, "test"))
        common = {"dataset": task.dataset, "kind": task.kind.value, "split": "test", "model": "baseline"}
        rows.append({**common, "metric": metric, "value": value, "images": images})
    return rows


def _mean_mask_dice(experiment: Experiment, task: Task) -> float:
    train = [sample[MASKS] for sample in _samples(experiment, task, "train")]
    mean = torch.stack(train).float().mean(0)
    best = max(
        THRESHOLDS, key=lambda t: float(np.mean([dice_per_image((mean > t)[None], m[None]).mean() for m in train]))
    )
    test = _samples(experiment, task, "test")
    dice = np.concatenate([dice_per_image((mean > best)[None], s[MASKS][None]).numpy() for s in test])
    present = np.stack([s[MASKS].flatten(1).any(-1).numpy() & s[MASKS_ANNOTATED].numpy() for s in test])
    return macro(mean_where(dice, present))


def _mean_box_iou(experiment: Experiment, task: Task) -> float:
    classes = len(experiment.specs[task].classes)
    train = _samples(experiment, task, "train")
    means, labels = [], []
    for k in range(classes):
        own = [box.numpy() for s in train for box, label in zip(s[BOXES], s[BOX_LABELS], strict=True) if label == k]
        if own:
            means.append(np.mean(own, axis=0))
            labels.append(k)
    guess = ImageBoxes(np.array(means).reshape(-1, 4), np.array(labels), np.ones(len(labels)))
    truth = [ImageBoxes(s[BOXES].numpy(), s[BOX_LABELS].numpy()) for s in _samples(experiment, task, "test")]
    overlaps = iou_of_best_box([guess] * len(truth), truth, num_classes=classes)
    return macro(mean_where(overlaps, ~np.isnan(overlaps)))


def _samples(experiment: Experiment, task: Task, split: str) -> list[dict[str, Any]]:
    dataset = experiment.dataset(task, split, augmented=False)
    return [dataset[i] for i in range(len(dataset))]


def main() -> int:
    """Write the baselines of a recipe's data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    experiment = open_experiment(
        load_recipe(arguments.recipe), data_root=arguments.data_root, report=lambda line: None, progress=False
    )
    rows = baseline_rows(experiment)
    with write_text(arguments.out) as file:
        json.dump({"recipe": experiment.recipe.model_dump(mode="json"), "rows": rows}, file)
    for row in rows:
        sys.stdout.write(
            f"{row['dataset']}/{row['kind']}  {row['metric']} {row['value']:.3f}  {row['images']} images\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
