"""Rows with intervals and subgroups, and their tables."""

import json
import math

import numpy as np
import pytest

from fx_monai.apps.score_rows import age_band, all_rows, patients_of, score_rows
from fx_monai.apps.tables import class_table, group_table, interval_table, score_table, write_json
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

TASK = Task("tiny", Kind.CLASSIFICATION)


def tiny_scores(count=12):
    labels = (np.arange(count)[:, None] % 2 == 0).astype(float)
    logits = labels + np.random.default_rng(0).normal(size=(count, 1))
    return ClassificationScores(TaskSpec(TASK, ("square",)), np.arange(count), logits, labels)


def test_a_value_lies_inside_its_interval_and_patients_are_counted(tmp_path):
    manifest, scores = tiny_manifest(tmp_path), tiny_scores()
    rows = score_rows(scores, patients_of(manifest, scores.rows), split="test", model="student", resamples=200)
    auc = next(row for row in rows if row["metric"] == "auc_macro")
    assert auc["low"] <= auc["value"] <= auc["high"]
    assert auc["low"] < auc["high"]
    assert (auc["images"], auc["patients"]) == (12, 6)
    without = score_rows(scores, ["a"] * 12, split="test", model="student", resamples=0)
    assert math.isnan(without[0]["low"])


def test_an_image_of_unknown_patient_is_a_patient_of_its_own(tmp_path):
    manifest = tiny_manifest(tmp_path)
    manifest.table = manifest.table.set_column(3, "patient_id", [["", "", *["tiny:7"] * 10]])
    assert len(set(patients_of(manifest, np.arange(12)))) == 3


def test_subgroups_are_scored_alone(tmp_path):
    scores, manifest = tiny_scores(), tiny_manifest(tmp_path)
    rows = all_rows({(TASK, "student"): scores}, {"tiny": manifest}, split="test", resamples=20)
    by_metric = {row["metric"]: row for row in rows}
    views = np.array(manifest.column("view"))
    for view in ("AP", "PA"):
        assert by_metric[f"auc_macro@{view}"]["value"] == scores.select(views == view).values()["auc_macro"]
        assert by_metric[f"auc/square@{view}"]["images"] == (views == view).sum()
    # sex and age are unknown here
    assert {metric.partition("@")[2] for metric in by_metric} == {"", "AP", "PA"}
    assert "| AP " in group_table(rows)
    assert "| square |" in class_table(rows)
    assert by_metric["auc_macro"]["low"] >= 0


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "age 0-17"), (17.9, "age 0-17"), (18, "age 18-39"), (40, "age 40-64"), (65, "age 65+"), (120, "age 65+")],
)
def test_age_bands(age, band):
    assert age_band(age) == band


def test_unknown_age_has_no_band():
    assert age_band(None) == age_band(math.nan) == age_band(400) == ""


def test_tables_show_what_there_is(tmp_path):
    row = {"dataset": "d", "kind": "classification", "model": "student", "images": 3}
    rows = [
        {**row, "metric": "auc_macro", "value": 0.5, "low": 0.25, "high": 0.75},
        {**row, "metric": "ap_macro", "value": math.nan, "low": math.nan, "high": math.nan},
    ]
    table = interval_table(rows)
    assert "0.500 (0.25-0.75)" in table
    assert "n/a" in table
    assert "Brier" not in table + score_table(rows, models=["student"])
    write_json({"rate": 1e-9, "mean": math.nan, "rows": rows}, tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert (content["rate"], content["mean"]) == (1e-9, None)
    assert content["rows"][1]["value"] is None
