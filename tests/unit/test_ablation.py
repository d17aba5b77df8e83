"""The study's plan, its table, and the whole of it on a tiny recipe."""

import json

import pytest

from fx_monai.apps import ablation
from fx_monai.apps.ablation import ARMS, SINGLE_TASK, Run, ablation_table, all_runs, collect, study
from fx_monai.apps.training import TrainingSession
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task
from tests.builders import tiny_data_root, tiny_recipe


def test_plan_has_every_arm_per_seed_and_a_network_per_task(tmp_path):
    recipe = load_recipe(str(tiny_recipe(tmp_path / "tiny.yaml")))
    runs = list(all_runs(recipe, [0, 1]))
    assert len(runs) == 2 * (len(ARMS) - 1 + 3)
    assert len({run.folder(tmp_path) for run in runs}) == len(runs)
    assert [run.seed for run in runs] == [0] * 6 + [1] * 6


def test_arms_have_the_same_steps_on_the_same_images(tmp_path):
    path, data = str(tiny_recipe(tmp_path / "tiny.yaml")), tiny_data_root(tmp_path / "data")
    recipe = load_recipe(path)
    task = Task("coco", Kind.SEGMENTATION)
    seen = []
    for run in [Run(arm, 0) for arm in ARMS if arm != SINGLE_TASK] + [Run(SINGLE_TASK, 0, task)]:
        options = {"overrides": run.overrides(recipe), "read_only": True}
        session = TrainingSession(path, data_root=data, output_dir=tmp_path / "out", **options)
        phases = [phase for phase in session.schedule().phases if phase.tasks == (task,)]
        rows = {split: session.experiment.rows(task, split).tolist() for split in ("train", "val", "test")}
        seen.append((sum(phase.num_steps for phase in phases), rows))
    assert seen == [seen[0]] * 4
    assert seen[0][0] == 3


def rows(arm, seed, values):
    kinds = zip(Kind, ("auc_macro", "ap40", "dice_positive"), values, strict=True)
    return [
        {"arm": arm, "seed": seed, "dataset": "d", "kind": k.value, "model": "selected", "metric": m, "value": v}
        for k, m, v in kinds
    ]


def test_table_by_hand():
    table = ablation_table(rows("full method", 0, (0.8, 0.3, None)) + rows("full method", 1, (0.9, 0.5, None)))
    assert "| full method" in table
    assert "| 2     | 0.850 ± 0.071 | 0.400 ± 0.141 | n/a" in table


@pytest.mark.slow
def test_study_of_a_tiny_recipe_goes_on_where_it_stopped(tmp_path, monkeypatch):
    path, data = str(tiny_recipe(tmp_path / "tiny.yaml", **{"schedule.cycles": 1})), tiny_data_root(tmp_path / "data")
    options = {
        "data_root": data,
        "folder": tmp_path / "runs",
        "seeds": [0],
        "out": tmp_path / "out.json",
        "device": "cpu",
    }
    finish = TrainingSession.finish
    ended = []

    def interrupt(session):
        if len(ended) == 2:
            raise KeyboardInterrupt
        ended.append(session.output_dir)
        return finish(session)

    monkeypatch.setattr(ablation.TrainingSession, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        study(path, **options)
    monkeypatch.undo()
    monkeypatch.setenv("FX_MONAI_CACHE", str(tmp_path / "cache"))
    assert study(path, **options)
    found = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["arm"] for row in found} == set(ARMS)
    single = {(row["dataset"], row["kind"]) for row in found if row["arm"] == SINGLE_TASK}
    assert single == {("coco", "localization"), ("coco", "segmentation"), ("csv", "classification")}
    assert all(arm in ablation_table(found) for arm in ARMS)
    assert len(collect(list(all_runs(load_recipe(path), [0])), tmp_path / "runs")) == len(found)
