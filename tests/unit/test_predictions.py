"""Predictions per image: what is written is read back, and tells no patient."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fx_monai.apps.predictions import hashed, read_predictions, write_predictions
from fx_monai.errors import DataError
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.models.card import Calibration
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

ROWS = np.array([3, 0, 8, 5])


def scores_of(kind, seed=0):
    generator = np.random.default_rng(seed)
    spec = TaskSpec(Task("tiny", kind), ("a", "b"))
    labels = np.array([[0, np.nan], [1, 0], [1, 1], [0, 1]])
    if kind is Kind.CLASSIFICATION:
        fitted = Calibration((2.0, None), (0.4, None), 9)
        return ClassificationScores(spec, ROWS, generator.normal(size=(4, 2)).astype(np.float32), labels, fitted)
    if kind is Kind.SEGMENTATION:
        values = generator.uniform(size=(3, 4, 2)).astype(np.float32)
        present, annotated = values[0] > 0.4, values[1] > 0.2
        return SegmentationScores(
            spec, ROWS, values[0], present, annotated, values[2] * 9, np.array([0.5, np.nan, 1, 1])
        )
    found = [
        ImageBoxes(generator.uniform(size=(5, 4)) + np.array([0, 0, 1, 1]), np.arange(5) % 2, np.arange(5) / 5)
    ] * 4
    truth = [ImageBoxes(f.boxes_xyxy[:2], f.labels[:2], annotated=np.array([True, i > 1])) for i, f in enumerate(found)]
    return LocalizationScores(spec, ROWS, found, truth)


@pytest.mark.parametrize("kind", list(Kind))
def test_round_trip(tmp_path, kind):
    manifest = tiny_manifest(tmp_path)
    written = {(Task("tiny", kind), model): scores_of(kind, seed) for seed, model in enumerate(("student", "teacher"))}
    (path,) = write_predictions(written, {"tiny": manifest}, tmp_path / "out")
    read = read_predictions(path)
    assert list(read) == ["student", "teacher"]
    for (_, model), scores in written.items():
        own = read[model]
        assert own.scores.values() == pytest.approx(scores.values(), nan_ok=True, abs=1e-6)
        assert own.scores.spec == scores.spec
        assert own.images.tolist() == hashed(f"tiny/{row:03d}" for row in ROWS)
        assert own.patients.tolist() == hashed(f"tiny:{row // 2}" for row in ROWS)
        turned = own.select(np.array([3, 1]))
        assert turned.scores.rows.tolist() == [5, 0]
    columns = set(pq.read_schema(path).names)
    assert columns.isdisjoint({"patient_id", "image_id", "image_path"})


def test_foreign_files_are_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no")
    for name in ("foreign", "text", "missing"):
        with pytest.raises(DataError, match="fx-monai evaluate"):
            read_predictions(tmp_path / f"{name}.parquet")
