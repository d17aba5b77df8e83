"""Runs beside each other, on the same images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fx_monai.apps.comparison import ALL, compare_runs
from fx_monai.apps.predictions import write_predictions
from fx_monai.cli import main
from fx_monai.errors import ConfigError, DataError
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.resampling import bootstrap, interval
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

COUNT = 12


@pytest.fixture
def manifest(tmp_path):
    return tiny_manifest(tmp_path / "data", count=COUNT)


def classification(dataset="tiny", shift=1.0, seed=0, rows=None):
    rows = np.arange(COUNT) if rows is None else np.array(rows)
    labels = (rows[:, None] % 2 == 0).astype(float)
    noise = np.random.default_rng(seed).normal(size=(COUNT, 1))[rows]
    spec = TaskSpec(Task(dataset, Kind.CLASSIFICATION), ("square",))
    return ClassificationScores(spec, rows, (shift * labels + noise).astype(np.float32), labels)


def localization(score=0.9, side=64):
    truth = [ImageBoxes(np.array([[8.0, 8, 24, 24]]) * side / 64, np.array([0]), annotated=np.array([True]))] * COUNT
    found = [ImageBoxes(t.boxes_xyxy + i % 3, t.labels, np.array([score])) for i, t in enumerate(truth)]
    return LocalizationScores(TaskSpec(Task("tiny", Kind.LOCALIZATION), ("square",)), np.arange(COUNT), found, truth)


def run(folder, manifest, *scores):
    written = {(own.spec.task, "selected"): own for own in scores}
    write_predictions(written, {own.spec.task.dataset: manifest for own in scores}, folder / "predictions" / "test")
    return folder


def row_of(comparison, run, metric, dataset="tiny"):
    (found,) = [r for r in comparison.rows if (r["run"], r["metric"], r["dataset"]) == (run, metric, dataset)]
    return found


def test_a_network_per_task_is_one_run(tmp_path, manifest):
    tasks = [classification(), localization()]
    multi = run(tmp_path / "multi", manifest, classification(shift=2.0), localization(score=0.5))
    for number, own in enumerate(tasks):
        run(tmp_path / "single" / f"task{number}", manifest, own)
    found = compare_runs([tmp_path / "single", multi], resamples=0)
    assert found.runs == ("single", "multi")
    assert row_of(found, "multi", "auc_macro")["difference"] > 0
    assert row_of(found, "multi", "ap40")["difference"] == 0
    assert not found.notes
    run(tmp_path / "single" / "again", manifest, classification())
    with pytest.raises(DataError, match="two of its runs have the task tiny/classification"):
        compare_runs([tmp_path / "single", multi], resamples=0)


def test_differences_are_paired(tmp_path, manifest):
    base, better = classification(shift=0.5), classification(shift=1.5)
    folders = [run(tmp_path / name, manifest, own) for name, own in (("single", base), ("multi", better))]
    found = compare_runs(folders, resamples=300)
    row = row_of(found, "multi", "auc_macro")
    assert row["difference"] == pytest.approx(better.values()["auc_macro"] - base.values()["auc_macro"])
    patients = np.array([f"tiny:{i // 2}" for i in range(COUNT)])
    patients = np.unique(patients, return_inverse=True)[1]
    # the same patients under other names are drawn in another order, so the ends agree only roughly
    drawn = [bootstrap(own.measure, patients, resamples=300)["auc_macro"] for own in (better, base)]
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(interval(drawn[0] - drawn[1]), abs=0.1)
    baseline = row_of(found, "single", "auc_macro")
    assert np.isnan(baseline["difference"])
    # noise that both runs have in common leaves the difference
    assert row["difference_high"] - row["difference_low"] < (row["high"] - row["low"]) + (
        baseline["high"] - baseline["low"]
    )


def test_order_and_missing_images_don_t_matter(tmp_path, manifest):
    whole = classification(shift=0.5)
    part = classification(shift=0.5, rows=[9, 2, 4, 7, 1, 0])
    found = compare_runs([run(tmp_path / "a", manifest, whole), run(tmp_path / "b", manifest, part)], resamples=0)
    row = row_of(found, "b", "auc_macro")
    assert (row["difference"], row["images"]) == (0, 6)
    assert "6 images are shared by all runs, of up to 12" in found.notes[0]


def test_runs_may_lack_tasks_and_boxes_of_another_input_size_compare(tmp_path, manifest):
    folders = [
        run(tmp_path / "multi", manifest, classification(), localization()),
        run(tmp_path / "boxes", manifest, localization(side=128)),
        run(tmp_path / "labels", manifest, classification(seed=1)),
    ]
    found = compare_runs(folders, resamples=20)
    assert {r["run"] for r in found.rows if r["kind"] == "localization"} == {"multi", "boxes"}
    assert {r["run"] for r in found.rows if r["kind"] == "classification"} == {"multi", "labels"}
    assert "n/a" in found.page()


def test_mean_over_datasets(tmp_path, manifest):
    twin = tiny_manifest(tmp_path / "twin", name="twin", count=COUNT)

    def both(folder, shift):
        run(folder, manifest, classification(shift=shift))
        return run(folder, twin, classification("twin", shift=shift, seed=1))

    found = compare_runs([both(tmp_path / "a", 0.5), both(tmp_path / "b", 2.0)], resamples=50)
    row = row_of(found, "b", "auc_macro", ALL)
    each = [row_of(found, "b", "auc_macro", name) for name in ("tiny", "twin")]
    assert row["difference"] == pytest.approx(np.mean([r["difference"] for r in each]))
    assert (row["images"], row["patients"]) == (24, 12)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_what_can_t_be_compared_is_refused(tmp_path, manifest):
    base = run(tmp_path / "base", manifest, classification())
    other = classification()
    flipped = replace(other, labels=1 - other.labels)
    renamed = replace(other, spec=TaskSpec(other.spec.task, ("circle",)))
    for name, own, message in (("flipped", flipped, "different truth"), ("renamed", renamed, "different classes")):
        with pytest.raises(DataError, match=message):
            compare_runs([base, run(tmp_path / name, manifest, own)])
    with pytest.raises(DataError, match="no task"):
        compare_runs([base, run(tmp_path / "boxes", manifest, localization())])
    apart = [run(tmp_path / str(i), manifest, classification(rows=range(i, COUNT, 2))) for i in (0, 1)]
    with pytest.raises(DataError, match="share no image"):
        compare_runs(apart)
    with pytest.raises(ConfigError, match="predictions/val"):
        compare_runs([base, base.parent / "flipped"], split="val")
    with pytest.raises(ConfigError, match="Did you mean 'selected'"):
        compare_runs([base, base.parent / "flipped"], model="select")
    with pytest.raises(ConfigError, match="named twice"):
        compare_runs([base, base])


def test_verb(tmp_path, manifest, capsys):
    folders = [str(run(tmp_path / n, manifest, classification(shift=s))) for n, s in (("a", 0.0), ("b", 9.0))]
    assert main(["compare", *folders, "--resamples", "50", "--out", str(tmp_path / "out")]) == 0
    page = capsys.readouterr().out
    assert "| AUC " in page
    assert " *" in page
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"] == ["a", "b"]
    assert (tmp_path / "out" / "comparison.md").read_text() in page
    assert main(["compare", folders[0]]) == 1
    assert "at least two" in capsys.readouterr().err
