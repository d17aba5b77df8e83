"""The study's plan, its table, and the whole of it on a tiny recipe."""

import json

import pytest

from fx_monai.apps.ablation import ARMS, SINGLE_TASK, Run, all_runs, collect, study
from fx_monai.apps.ablation_tables import ablation_tables
from fx_monai.apps.training import TrainingSession
from fx_monai.errors import ConfigError
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


def rows(arm, seed, values, model="selected"):
    kinds = zip(Kind, ("auc_macro", "ap40", "dice_positive"), values, strict=True)
    own = {"arm": arm, "seed": seed, "dataset": "d", "model": model, "images": 7}
    return [{**own, "kind": k.value, "metric": m, "value": v} for k, m, v in kinds]


def test_tables_by_hand():
    """Seeds differ by 0.1 and 0.2, the arms by 0.02 and 0.04 within a seed: the paired spread is the smaller one."""
    text = ablation_tables(
        rows("full method", 0, (0.8, 0.3, None))
        + rows("full method", 1, (0.9, 0.5, None))
        + rows("other", 0, (0.82, 0.3, 0.1))
        + rows("other", 1, (0.94, 0.5, 0.2))
    )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["full method", "2", "0.850 ± 0.071", "0.400 ± 0.141", "n/a"] in lines
    assert ["other", "2", "0.880 ± 0.085", "0.400 ± 0.141", "0.150 ± 0.071"] in lines
    assert ["other", "0.030 ± 0.014", "0.000 ± 0.000", "n/a"] in lines
    assert ["d/classification", "AUC", "7", "0.850 ± 0.071", "0.880 ± 0.085"] in lines


def write_result(run, recipe_path, folder):
    recipe = load_recipe(recipe_path, run.overrides(load_recipe(recipe_path)))
    found = [
        {"dataset": t.dataset, "kind": t.kind.value, "model": "student", "metric": m, "value": 0.5, "images": 3}
        for t, m in zip(recipe.tasks, ("ap40", "dice_positive", "auc_macro"), strict=False)
    ]
    place = run.folder(folder)
    place.mkdir(parents=True)
    (place / "results.json").write_text(json.dumps({"recipe": recipe.model_dump(mode="json"), "rows": found}))


def test_an_arm_counts_when_all_its_trainings_are_complete(tmp_path):
    path = str(tiny_recipe(tmp_path / "tiny.yaml"))
    runs = list(all_runs(load_recipe(path), [0]))
    for run in runs[:-1]:
        write_result(run, path, tmp_path)
    assert {row["arm"] for row in collect(runs, tmp_path)} == set(ARMS) - {SINGLE_TASK}
    write_result(runs[-1], path, tmp_path)
    assert {row["arm"] for row in collect(runs, tmp_path)} == set(ARMS)


def test_trainings_of_another_recipe_are_refused_before_any_is_made(tmp_path):
    old, new = (str(tiny_recipe(tmp_path / f"{n}.yaml", **{"schedule.cycles": n})) for n in (1, 2))
    write_result(Run("without the teacher", 0), old, tmp_path / "runs")
    options = {"data_root": tmp_path / "none", "folder": tmp_path / "runs", "out": tmp_path / "out.json"}
    with pytest.raises(ConfigError, match=r"schedule\.cycles.*Delete this folder"):
        study(new, seeds=[0], device="cpu", **options)


def test_a_network_per_task_warms_up_for_the_same_share(tmp_path):
    recipe = load_recipe("demo")
    alone = load_recipe("demo", Run(SINGLE_TASK, 1, recipe.tasks[0]).overrides(recipe))
    assert alone.tasks == recipe.tasks[:1]
    assert not alone.teacher.enabled
    assert not alone.schedule.lock_release
    assert alone.optimiser.warmup_steps == round(recipe.optimiser.warmup_steps / len(recipe.tasks))
    changed = ("seed", "primary", "datasets", "schedule", "teacher", "optimiser", "evaluation", "tracking")
    assert alone.model_dump(exclude=changed) == recipe.model_dump(exclude=changed)


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

    monkeypatch.setattr(TrainingSession, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        study(path, **options)
    monkeypatch.undo()
    monkeypatch.setenv("FX_MONAI_CACHE", str(tmp_path / "cache"))
    assert study(path, **options)
    found = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["arm"] for row in found} == set(ARMS)
    single = {(row["dataset"], row["kind"]) for row in found if row["arm"] == SINGLE_TASK}
    assert single == {("coco", "localization"), ("coco", "segmentation"), ("csv", "classification")}
    assert all(arm in ablation_tables(found) for arm in ARMS)
    assert len(collect(list(all_runs(load_recipe(path), [0])), tmp_path / "runs")) == len(found)
