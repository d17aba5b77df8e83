"""What a run was trained and tested on, in numbers: images, patients, annotations by split, contradicting labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fx_monai.apps.dataset_statistics import Counts, dataset_statistics
from fx_monai.apps.experiment import Experiment
from fx_monai.data.catalog import find_dataset
from fx_monai.data.label_conflicts import label_conflicts
from fx_monai.data.manifest import Manifest
from fx_monai.data.same_images import same_images
from fx_monai.data.splits import PARTS
from fx_monai.files import write_text
from fx_monai.types import Kind

FILE = "data.json"
_ANNOTATIONS = {Kind.CLASSIFICATION: "labels", Kind.LOCALIZATION: "boxes", Kind.SEGMENTATION: "masks"}


def write_data_summary(experiment: Experiment, folder: Path) -> Path:
    """Write ``data.json``; return its path."""
    with write_text(folder / FILE) as file:
        json.dump(data_summary(experiment), file, indent=1)
        file.write("\n")
    return folder / FILE


def data_summary(experiment: Experiment) -> dict[str, Any]:
    """Return plain values.

    ``fingerprint``: of all images and their division. ``datasets``: by name title, licence, url, citation, and by split
    images, patients (None = unknown) and the annotations of the recipe's classes as
    :func:`fx_monai.apps.dataset_statistics.dataset_statistics` counts them. ``label_conflicts``: see
    :func:`conflict_counts`.
    """
    return {
        "fingerprint": experiment.fingerprint(),
        "datasets": {name: _dataset(experiment, name) for name in experiment.manifests},
        "label_conflicts": conflict_counts(list(experiment.manifests.values())),
    }


def conflict_counts(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """Return how often a label of one dataset contradicts a label of another on the same picture.

    Pictures are told by declared origin and file alone, without a look at the pixels; ``fx-monai audit`` finds more.
    """
    return [
        {
            "finding": own.finding or None,
            "present_dataset": own.positive_dataset,
            "present_label": own.positive_label,
            "absent_dataset": own.negative_dataset,
            "absent_label": own.negative_label,
            "pictures": len(own.positive),
            "both_present": own.both_present,
        }
        for own in label_conflicts(manifests, same_images(manifests, {}))
    ]


def _dataset(experiment: Experiment, name: str) -> dict[str, Any]:
    manifest = experiment.manifests[name]
    usable = experiment.usable(name)
    parts = {part: (experiment.splits.by_dataset[name] == part) & usable for part in PARTS}
    own = [spec for task, spec in experiment.specs.items() if task.dataset == name]
    splits: dict[str, Any] = {}
    for part, chosen in parts.items():
        rows = manifest.table.filter(pa.array(chosen))
        counts = dataset_statistics(Manifest(rows, dataset=name, classes=manifest.classes, root=manifest.root))
        classes: Mapping[str, Counts] = {
            spec.task.kind.value: {label: counts[_ANNOTATIONS[spec.task.kind]][label] for label in spec.classes}
            for spec in own
        }
        splits[part] = {"images": rows.num_rows, "patients": counts["patients"] or None, "classes": classes}
    return {**_about(experiment, name), "left_out": int((~usable).sum()), "splits": splits}


def _about(experiment: Experiment, name: str) -> dict[str, str]:
    spec = find_dataset(experiment.recipe.datasets[name].catalogue_name(name))
    return {"title": spec.title, "licence": spec.licence, "url": spec.url, "citation": spec.citation}
