"""Predictions per image as Parquet: what every score was made from, for paired comparisons and for a look at cases.

One file per task, one row per image and model. Patients and images stand as hashes, since file names of public datasets
carry patient numbers; ``row`` is the row in the manifest, for those who have it. A hash hides an id from the eye, not
from someone who tries all ids.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.apps.score_rows import patients_of
from fx_monai.data.manifest import Manifest
from fx_monai.errors import DataError
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.metrics.task_scores import TaskScores
from fx_monai.models.card import Calibration
from fx_monai.types import Kind, Task, TaskSpec

SCHEMA_VERSION = 1
_KEY = b"fx_monai"


@dataclass(frozen=True)
class StoredScores:
    """Predictions of one task and model, read back.

    Args:
        scores: what is measured.
        images: (N,) hash of each image.
        patients: (N,) hash of each patient.
    """

    scores: TaskScores
    images: NDArray[np.str_]
    patients: NDArray[np.str_]

    def select(self, chosen: NDArray[np.int64]) -> StoredScores:
        """Return some images in the given order."""
        return StoredScores(self.scores.select(chosen), self.images[chosen], self.patients[chosen])


def write_predictions(
    scores: Mapping[tuple[Task, str], TaskScores], manifests: Mapping[str, Manifest], folder: Path
) -> list[Path]:
    """Write ``<dataset>.<kind>.parquet`` for every task; return the paths."""
    paths = []
    for task in dict.fromkeys(task for task, _ in scores):
        own = {model: value for (other, model), value in scores.items() if other == task}
        table = pa.concat_tables([_table(model, value, manifests[task.dataset]) for model, value in own.items()])
        spec = next(iter(own.values())).spec
        about = {
            "schema_version": SCHEMA_VERSION,
            "dataset": task.dataset,
            "kind": task.kind.value,
            "classes": spec.classes,
            "exclusive": spec.exclusive,
            "calibration": {
                model: asdict(value.calibration)
                for model, value in own.items()
                if isinstance(value, ClassificationScores) and value.calibration
            },
        }
        path = folder / f"{task.dataset}.{task.kind.value}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(about)}), temporary)
        os.replace(temporary, path)
        paths.append(path)
    return paths


def read_predictions(path: Path) -> dict[str, StoredScores]:
    """Read one file: model -> its predictions.

    Raises:
        DataError: no file of predictions, or of another schema version.
    """
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_KEY])
        if about["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {about['schema_version']}")
        spec = TaskSpec(Task(about["dataset"], Kind(about["kind"])), tuple(about["classes"]), about["exclusive"])
        models = table.column("model").to_numpy(zero_copy_only=False)
        result = {}
        for model in dict.fromkeys(models.tolist()):
            own = table.filter(pa.array(models == model))
            calibration = about["calibration"].get(model)
            images, patients = (np.array(own.column(name).to_pylist(), dtype=str) for name in ("image", "patient"))
            result[model] = StoredScores(_scores(own, spec, calibration), images, patients)
    except (pa.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise DataError(
            where=str(path),
            problem=f"no predictions can be read ({type(error).__name__})",
            expected=f"a file that an evaluation wrote, schema version {SCHEMA_VERSION}",
            remedy="Evaluate the weights again with `fx-monai evaluate`",
        ) from error
    return result


def hashed(texts: Iterable[str]) -> list[str]:
    """Return 16 hexadecimal digits of the SHA-256 of each text."""
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def _table(model: str, scores: TaskScores, manifest: Manifest) -> pa.Table:
    images = manifest.table.column("image_id").take(scores.rows).to_pylist()
    columns: dict[str, Any] = {
        "model": [model] * scores.num_images,
        "image": hashed(f"{manifest.dataset}/{image}" for image in images),
        "patient": hashed(patients_of(manifest, scores.rows)),
        "row": scores.rows,
    }
    if isinstance(scores, ClassificationScores):
        columns |= {"logits": _floats(scores.logits), "labels": _floats(scores.labels)}
    elif isinstance(scores, LocalizationScores):
        columns |= {"found": _boxes(scores.found), "truth": _boxes(scores.truth)}
        columns["annotated"] = [None if t.annotated is None else t.annotated.tolist() for t in scores.truth]
    else:
        assert isinstance(scores, SegmentationScores)
        unknown = np.full(scores.dice.shape, np.nan)
        spacing = np.full(scores.num_images, np.nan) if scores.spacing_mm is None else scores.spacing_mm
        columns |= {"dice": _floats(scores.dice), "spacing_mm": spacing.astype(np.float32)}
        columns["hd95_px"] = _floats(unknown if scores.hd95_px is None else scores.hd95_px)
        columns |= {"present": scores.present.tolist(), "annotated": scores.annotated.tolist()}
    return pa.table(columns)


def _scores(table: pa.Table, spec: TaskSpec, calibration: Mapping[str, Any] | None) -> TaskScores:
    rows = table.column("row").to_numpy()
    if spec.task.kind is Kind.CLASSIFICATION:
        fitted = calibration and Calibration(
            tuple(calibration["temperatures"]), tuple(calibration["thresholds"]), calibration["images"]
        )
        return ClassificationScores(spec, rows, _matrix(table, "logits"), _matrix(table, "labels"), fitted or None)
    if spec.task.kind is Kind.LOCALIZATION:
        flags = [None if own is None else np.array(own, dtype=bool) for own in table.column("annotated").to_pylist()]
        truth = _from_boxes(table.column("truth").to_pylist(), flags)
        return LocalizationScores(spec, rows, _from_boxes(table.column("found").to_pylist(), [None] * len(rows)), truth)
    distances = _matrix(table, "hd95_px")
    return SegmentationScores(
        spec,
        rows,
        dice=_matrix(table, "dice"),
        present=_matrix(table, "present").astype(bool),
        annotated=_matrix(table, "annotated").astype(bool),
        hd95_px=None if np.isnan(distances).all() else distances,
        spacing_mm=table.column("spacing_mm").to_numpy(),
    )


def _floats(values: NDArray[np.floating]) -> pa.Array:
    return pa.array(list(values.astype(np.float32)), type=pa.list_(pa.float32()))


def _matrix(table: pa.Table, name: str) -> NDArray[Any]:
    return np.array(table.column(name).to_pylist())


_BOX = pa.struct([(name, pa.float32()) for name in ("x1", "y1", "x2", "y2", "score")] + [("label", pa.int32())])


def _boxes(images: Sequence[ImageBoxes]) -> pa.Array:
    rows = []
    for own in images:
        scores = np.full(len(own.labels), np.nan) if own.scores is None else own.scores
        rows.append(
            [
                dict(zip(("x1", "y1", "x2", "y2", "score", "label"), (*box, score, label), strict=True))
                for box, score, label in zip(own.boxes_xyxy.tolist(), scores.tolist(), own.labels.tolist(), strict=True)
            ]
        )
    return pa.array(rows, type=pa.list_(_BOX))


def _from_boxes(rows: Sequence[Sequence[Mapping[str, Any]]], annotated: Sequence[Any]) -> list[ImageBoxes]:
    result = []
    for boxes, flags in zip(rows, annotated, strict=True):
        corners = np.array([[box[name] for name in ("x1", "y1", "x2", "y2")] for box in boxes], dtype=np.float32)
        labels = np.array([box["label"] for box in boxes], dtype=np.int64)
        scores = np.array([box["score"] for box in boxes], dtype=np.float32)
        result.append(ImageBoxes(corners.reshape(-1, 4), labels, scores, flags))
    return result
