import pytest
import yaml

from fx_monai.data.policies import Policies
from fx_monai.engine.schedule import build_schedule
from fx_monai.errors import ConfigError
from fx_monai.recipe import RECIPES, load_recipe
from fx_monai.types import Kind, Task
from tests.builders import tiny_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_are_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert len(recipe.tasks) >= (1 if name == "finetune" else 5)


def test_foundation_x_has_the_papers_tasks_in_its_order():
    tasks = [str(task) for task in load_recipe("foundation_x").tasks]
    assert len(tasks) == 20
    assert tasks[:6] == [
        f"{name}/classification"
        for name in ("chexpert", "nih_chestxray14", "vindr_cxr", "shenzhen", "mimic_cxr", "tbx11k")
    ]
    assert tasks[9:12] == [f"candid_ptx/{kind}" for kind in Kind]
    assert load_recipe("foundation_x_plus").tasks == load_recipe("foundation_x").tasks


@pytest.mark.parametrize(("name", "phases"), [("foundation_x", 29), ("foundation_x_plus", 40), ("ark", 6)])
def test_phases_of_a_cycle_are_the_papers(name, phases):
    recipe = load_recipe(name)
    section = recipe.schedule
    schedule = build_schedule(
        dict.fromkeys(recipe.tasks, 4),
        cycles=1,
        lock_fraction=section.lock_fraction,
        lock_classification=section.lock_classification,
        order=section.order,
    )
    assert len(schedule.phases) == phases


def test_tasks_are_ordered_by_dataset_then_kind(tmp_path):
    recipe = load_recipe(str(tiny_recipe(tmp_path / "r.yaml")))
    assert recipe.tasks == (
        Task("coco", Kind.LOCALIZATION),
        Task("coco", Kind.SEGMENTATION),
        Task("csv", Kind.CLASSIFICATION),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule.cylces": 3}, r"unknown key 'schedule.cylces'. Did you mean 'cycles'"),
        ({"model.backbone.nmae": "x"}, r"unknown key 'model.backbone.nmae'. Did you mean 'name'"),
        ({"datasets.csv.taks": []}, r"unknown key 'datasets.csv.taks'. Did you mean 'tasks'"),
        ({"schedule.cycles": 0}, r"schedule.cycles = 0: Input should be greater than or equal to 1"),
        ({"datasets.csv.tasks": ["clasification"]}, r"Did you mean 'classification'"),
        ({"datasets.csv.tasks": ["segmentation"]}, r"'segmentation' is not annotated in csv"),
        ({"datasets.chexprt": {"tasks": ["classification"]}}, r"there is no such dataset"),
        ({"primary": "coco/segmentatoin"}, r"Did you mean 'coco/segmentation'"),
        ({"model.image_size": 100}, r"model.image_size: 100. Expected a multiple of 32"),
        ({"data.split": {"train": 0.9, "val": 0.2, "test": 0.2}}, r"must add up to 1"),
        ({"schedule.cycles": True}, r"schedule.cycles = True: .*true and false are no value of this key"),
        ({"augmentation": {"gamma": 9}}, r"augmentation.gamma: 9"),
    ],
)
def test_mistakes_are_refused_by_place_and_value(tmp_path, changes, message):
    path = tiny_recipe(tmp_path / "r.yaml", **changes)
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path))


def test_all_mistakes_are_reported_together(tmp_path):
    path = tiny_recipe(tmp_path / "r.yaml", **{"schedule.cylces": 1, "teacher.ema_momentum": 2})
    with pytest.raises(ConfigError) as error:
        load_recipe(str(path))
    assert "cylces" in str(error.value)
    assert "ema_momentum" in str(error.value)


def test_unknown_recipe_name():
    with pytest.raises(ConfigError, match="Did you mean 'demo'"):
        load_recipe("dmeo")


def test_key_that_stands_twice(tmp_path):
    path = tiny_recipe(tmp_path / "r.yaml")
    path.write_text(path.read_text() + "\nname: again\n")
    with pytest.raises(ConfigError, match="the key 'name' stands twice"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("key", "value"), [("seed", -1), ("optimiser.heads", float("inf")), ("data.positive_fraction", {"localization": 2})]
)
def test_numbers_without_sense(tmp_path, key, value):
    with pytest.raises(ConfigError, match=key):
        load_recipe(str(tiny_recipe(tmp_path / "r.yaml")), {key: value})


def test_not_yaml(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("a: [1,\nb: 2")
    with pytest.raises(ConfigError, match="not a YAML file"):
        load_recipe(str(path))
    path.write_text("just words")
    with pytest.raises(ConfigError, match="the file holds a str"):
        load_recipe(str(path))


def test_overrides_replace_and_are_checked(tmp_path):
    path = str(tiny_recipe(tmp_path / "r.yaml"))
    assert load_recipe(path, {"schedule.cycles": 5}).schedule.cycles == 5
    with pytest.raises(ConfigError, match="Did you mean 'cycles'"):
        load_recipe(path, {"schedule.cycels": 5})
    with pytest.raises(ConfigError, match="holds a single value"):
        load_recipe(path, {"name.first": "x"})


def test_exponent_without_point_is_a_number(tmp_path):
    path = tiny_recipe(tmp_path / "r.yaml")
    content = path.read_text() + "\n"
    path.write_text(content.replace("warmup_steps: 2", "warmup_steps: 2\n  backbone: 1e-4"))
    assert yaml.safe_load(path.read_text())["optimiser"]["backbone"] == "1e-4"
    assert load_recipe(str(path)).optimiser.backbone == 1e-4


def test_policies_are_the_recipes_or_the_datasets_own():
    recipe = load_recipe("demo", {"data.policies.uncertain": "ones", "datasets.siim_acr.policies": {"views": ["PA"]}})
    assert recipe.data.policies.uncertain == "ones"
    assert recipe.datasets["siim_acr"].policies == Policies(views=("PA",))
    assert recipe.datasets["montgomery"].policies is None
    with pytest.raises(ConfigError, match=r"unknown key 'data\.policies\.uncertian'\. Did you mean 'uncertain'"):
        load_recipe("demo", {"data.policies.uncertian": "ones"})
