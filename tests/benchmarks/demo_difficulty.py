"""How hard the demo cohort is for shortcuts: both figures must stay below the bars of the design.

    python tests/benchmarks/demo_difficulty.py runs/demo-cohort

1. Linear probe: logistic regression on 64 x 64 grey values, trained on the training split, macro AUC on the test split
   over all findings of all datasets (bar 0.70).
2. Brightness detector: bright parts of the locally normalised image as boxes, threshold chosen on the training split,
   AP@0.5 on the test split, mean over datasets with boxes (bar 0.15).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Manifest
from fx_monai.data.pixels import read_pixels, to_uint8
from fx_monai.data.splits import assign_splits
from fx_monai.data.store import letterbox
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.mean_ap import average_precision
from fx_monai.metrics.ranking import auroc_per_class, macro

DATASETS = ("nih_chestxray14", "rsna_pneumonia", "chestx_det", "siim_acr", "montgomery")


def images_of(manifest: Manifest, side: int) -> np.ndarray:
    return np.stack([letterbox(to_uint8(read_pixels(manifest.root / p)), side) for p in manifest.column("image_path")])


def linear_probe(manifest: Manifest, split: np.ndarray) -> dict[str, float]:
    pixels = images_of(manifest, 64).reshape(len(manifest), -1).astype(np.float32)
    train, test = split == "train", split == "test"
    scaler = StandardScaler().fit(pixels[train])
    x_train, x_test = scaler.transform(pixels[train]), scaler.transform(pixels[test])
    labels = manifest.labels()
    aucs = {}
    for k, name in enumerate(manifest.classes.labels):
        y_train, y_test = labels[train, k], labels[test, k]
        if len(set(y_train)) < 2 or len(set(y_test)) < 2:
            continue
        probe = LogisticRegression(C=0.01, max_iter=2000).fit(x_train, y_train)
        aucs[name] = float(auroc_per_class(probe.decision_function(x_test)[:, None], y_test[:, None])[0])
    return aucs


def bright_boxes(image: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 2)
    local = smooth - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 24)
    spread = np.sqrt(cv2.GaussianBlur(local**2, (0, 0), 24)) + 1
    score = local / spread
    count, parts, stats, _ = cv2.connectedComponentsWithStats((score > threshold).astype(np.uint8))
    keep = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= 30]
    boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in (stats[i] for i in keep)]
    scores = [score[parts == i].mean() for i in keep]
    return np.array(boxes, dtype=float).reshape(-1, 4), np.array(scores)


def brightness_detector(manifest: Manifest, split: np.ndarray) -> float:
    side = 256
    images = images_of(manifest, side)

    def score(part: str, threshold: float) -> float:
        found, true = [], []
        for row in np.flatnonzero(split == part):
            record = manifest[int(row)]
            if not record.boxes_annotated:
                continue
            boxes, scores = bright_boxes(images[row], threshold)
            found.append(ImageBoxes(boxes, np.zeros(len(boxes), int), scores))
            corners = np.array([[b.x1, b.y1, b.x2, b.y2] for b in record.boxes], dtype=float).reshape(-1, 4)
            true.append(ImageBoxes(corners * side / record.width, np.zeros(len(corners), int)))
        return macro(average_precision(found, true, num_classes=1).ap50)

    best = max((0.5, 1.0, 1.5, 2.0), key=lambda threshold: score("train", threshold))
    return score("test", best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    cohort = parser.parse_args().cohort
    manifests = [index_dataset(name, cohort / name) for name in DATASETS]
    splits = assign_splits(manifests, seed=0, fractions=(0.7, 0.1, 0.2))
    aucs, aps = [], []
    for manifest in manifests:
        split = splits.by_dataset[manifest.dataset]
        own = linear_probe(manifest, split)
        aucs += own.values()
        print(f"{manifest.dataset:18s} linear probe AUC", {name: round(value, 2) for name, value in own.items()})
        if any(manifest.column("boxes")):
            aps.append(brightness_detector(manifest, split))
            print(f"{manifest.dataset:18s} brightness detector AP@0.5 {aps[-1]:.3f}")
    print(f"linear probe, mean AUC over findings: {np.mean(aucs):.3f} (bar 0.70)")
    print(f"brightness detector, mean AP@0.5:     {np.mean(aps):.3f} (bar 0.15)")


if __name__ == "__main__":
    main()
