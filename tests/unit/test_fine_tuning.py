"""What a fine-tuning makes of start, mode and target; messages for what is none."""

import pytest

from fx_monai.apps.fine_tuning import FineTuning, check_probe, fine_tuning, recipe_values, target_recipe
from fx_monai.apps.starting_point import StartingPoint, starting_point
from fx_monai.cli import main
from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_recipe

START = StartingPoint("weights", {})


@pytest.fixture
def weights(tmp_path):
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=96)
    network = FoundationX(config, [TaskSpec(Task("one", Kind.CLASSIFICATION), ("a",))])
    path = tmp_path / "run" / "model.pt"
    write_weights(network, ModelCard(), path)
    return path


def test_weights_bring_their_architecture_and_rivals_take_it(weights):
    start = starting_point(str(weights))
    assert (start.name, start.trained_on) == ("run", ("one/classification",))
    recipe = load_recipe("finetune", start.values)
    assert (recipe.model.image_size, recipe.init_from, recipe.model.backbone.pretrained) == (96, str(weights), "none")
    for word, pretrained, statistics in (("imagenet", "auto", False), ("random", "none", True)):
        recipe = load_recipe("finetune", starting_point(word, like=start).values)
        assert (recipe.model.image_size, recipe.init_from) == (96, None)
        assert (recipe.model.backbone.pretrained, recipe.model.backbone.train_norm_statistics) == (
            pretrained,
            statistics,
        )


def test_starts_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no file 'imagnet'. Did you mean 'imagenet'"):
        starting_point("imagnet")
    (tmp_path / "model.pt").write_text("words")
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        starting_point(str(tmp_path / "model.pt"))


def test_modes_are_phases_of_heads_and_of_everything(tmp_path):
    recipe = str(tiny_recipe(tmp_path / "tiny.yaml", **{"schedule.cycles": 7}))
    expected = {FineTuning.HEAD_FIRST: 2, FineTuning.FULL: 0, FineTuning.HEAD: 7, FineTuning.PROBE: 7}
    for mode, head_cycles in expected.items():
        assert load_recipe(recipe, recipe_values(recipe, mode, START, {})).schedule.head_cycles == head_cycles
    full = load_recipe(recipe, recipe_values(recipe, FineTuning.FULL, START, {})).schedule
    assert (full.lock_fraction, full.lock_classification) == (0, False)


def test_what_the_recipe_says_of_head_cycles_stays(tmp_path):
    recipe = str(tiny_recipe(tmp_path / "tiny.yaml", **{"schedule.cycles": 9, "schedule.head_cycles": 5}))
    assert recipe_values(recipe, FineTuning.HEAD_FIRST, START, {})["schedule.head_cycles"] == 5
    random = recipe_values(recipe, FineTuning.HEAD_FIRST, starting_point("random"), {})
    assert random["schedule.head_cycles"] == 0


def test_targets():
    assert target_recipe("demo") == ("demo", {})
    recipe, values = target_recipe("montgomery/segmentation")
    assert [str(task) for task in load_recipe(recipe, values).tasks] == ["montgomery/segmentation"]
    recipe, values = target_recipe("montgomery")
    assert len(load_recipe(recipe, values).tasks) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imagenet", "montgomry"], "'montgomry' is neither a recipe nor a dataset. Did you mean 'montgomery'"),
        (["imagenet", "montgomery/lungs"], "'lungs' is not annotated in montgomery"),
        (["imagenet", "montgomery", "--mode", "heads"], "'heads'. Did you mean 'head'"),
        (["imagenet", "montgomery", "--mode", "head,full"], "2 modes"),
        (["imagenet", "montgomery", "--mode", "probe"], "the target has the task montgomery/segmentation"),
        (["imagenet", "montgomery", "--shots", "3,x"], "--shots: 'x'"),
        (["imagenet", "montgomery", "--shots", "2.5"], "--shots: '2.5'. Expected whole numbers"),
        (["imagenet", "montgomery", "--fractions", "0"], "--fractions: 0"),
        (["imagenet", "montgomery", "--fractions", "120"], "--fractions: 120"),
        (["imagenet", "montgomery", "--shots", "3", "--draws", "0"], "0 draws"),
        (["imagenet", "montgomery", "--shots", "3", "--beside", "imagenet"], "two starts are called imagenet"),
        (["imagenet", "montgomery", "--beside", "random"], "--beside and --draws belong to a study"),
        (["imagenet", "montgomery", "--set", "schedule.cycles=1"], "the recipe has 1 cycle"),
    ],
)
def test_bad_input_ends_with_one_message(words, message, tmp_path, capsys):
    assert main(["finetune", *words, "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_probe_is_for_classification_alone():
    check_probe(*target_recipe("montgomery/classification"))
    with pytest.raises(ConfigError, match="a linear probe reads one feature per image"):
        check_probe(*target_recipe("montgomery/segmentation"))
    assert fine_tuning("probe") is FineTuning.PROBE
