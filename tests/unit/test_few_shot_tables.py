"""Points, differences and the table of a few-shot study by hand."""

import math

import pytest
from scipy import stats

from fx_monai.apps.few_shot_tables import few_shot_curve, few_shot_page, points, write_few_shot
from fx_monai.metrics.resampling import student_interval


def row(start, subset, draw, value, *, metric="auc_macro", mode="probe", patients=10):
    about = {"start": start, "mode": mode, "subset": subset, "draw": draw, "training_patients": patients}
    score = {"dataset": "d", "kind": "classification", "metric": metric, "value": value, "low": 0.5, "high": 0.9}
    return {**about, **score}


ROWS = [
    row("a", "3 shots", 0, 0.8),
    row("a", "3 shots", 1, 0.9),
    row("a", "3 shots", 1, 0.1, metric="brier_macro"),
    row("b", "3 shots", 0, 0.7),
    row("b", "3 shots", 1, 0.8),
    row("a", "100 %", 0, 0.95, patients=80),
    row("b", "100 %", 0, None, patients=80),
]


def test_student_interval_is_scipys():
    values = [0.7, 0.75, 0.9]
    expected = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert student_interval([*values, math.nan]) == pytest.approx(expected)
    assert all(math.isnan(end) for end in student_interval([0.7]))


def test_points_are_means_over_draws_and_differences_are_paired():
    lines = points(ROWS)["d", "classification"]
    first, rival = lines["a", "probe"]["3 shots"], lines["b", "probe"]["3 shots"]
    assert first.row["value"] == pytest.approx(0.85)
    low, high = student_interval([0.8, 0.9])
    assert low < 1 < high
    assert (first.row["low"], first.row["high"]) == (pytest.approx(low), 1.0)
    gain = first.minus(rival)
    assert (gain["difference"], gain["difference_low"]) == pytest.approx((0.1, 0.1))


def test_table_marks_sure_differences_and_undefined_scores():
    page = few_shot_page(ROWS)
    assert "| d/classification: AUC | patients | a (probe)" in page
    line = next(line for line in page.splitlines() if "3 shots" in line)
    assert "| 10 " in line
    assert "+0.100 (+0.10 to +0.10) *" in line
    whole = next(line for line in page.splitlines() if "100 %" in line)
    assert "0.950 (0.50-0.90)" in whole
    assert whole.count("n/a") == 2


def test_files_and_curve(tmp_path):
    written = write_few_shot(ROWS, tmp_path, about={"draws": 2})
    assert {path.suffix for path in written} == {".md", ".csv", ".json", ".png"}
    assert all(path.stat().st_size for path in written)
    (axes,) = few_shot_curve(ROWS).axes
    assert [line.get_label() for line in axes.get_lines()] == ["a, probe", "b, probe"]
    assert axes.get_lines()[0].get_xdata().tolist() == [10, 80]
