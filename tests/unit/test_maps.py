"""Maps of findings: they add up to the logits, lie where the image lies, and are measured against boxes."""

import json

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from PIL import Image
from sklearn.metrics import roc_auc_score

from fx_monai.apps import map_comparison
from fx_monai.apps.experiment import open_experiment
from fx_monai.apps.map_comparison import compare_maps, map_table
from fx_monai.apps.maps import draw_map
from fx_monai.cli import main
from fx_monai.metrics.map_scores import score_map
from fx_monai.models.activation_maps import ActivationMaps, activation_maps, coarse_maps, is_exact
from fx_monai.models.card import Calibration, ModelCard
from fx_monai.models.config import BackboneConfig, ModelConfig, ProjectorConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest, tiny_recipe

TASK = Task("tiny", Kind.CLASSIFICATION)


def network_of(*, projector=False, norm=False):
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(pretrained="none", stage_norm=norm),
        projector=ProjectorConfig(width=24) if projector else None,
        image_size=64,
    )
    return FoundationX(config, [TaskSpec(TASK, ("square", "unknown"))]).eval()


@pytest.mark.parametrize("norm", [False, True])
def test_a_map_adds_up_to_the_logit(norm):
    network = network_of(norm=norm)
    image = torch.rand(2, 1, 64, 96)
    logits, maps = coarse_maps(network, image)[TASK]
    assert is_exact(network)
    assert maps.shape == (2, 2, 2, 3)
    head = network.heads["cls_head"]["tiny"]
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + head.bias, logits, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(logits, network.predict_tasks(image)[TASK]["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("projector", [False, True])
def test_the_positive_part_is_the_grad_cam_of_monai(projector):
    network = network_of(projector=projector)
    image = torch.rand(1, 1, 64, 96)
    _, maps = coarse_maps(network, image)[TASK]
    reference = GradCAM(network, "trunk.backbone.norm")
    for k in range(2):
        theirs = reference.compute_map(image, class_idx=k)
        # their slope is that of the map, ours that of its mean over 2 x 3 places
        torch.testing.assert_close(maps[:, k : k + 1].clamp(min=0) / 6, torch.as_tensor(theirs), rtol=1e-3, atol=1e-6)


def test_maps_have_the_size_of_the_input_also_where_it_is_padded():
    found = activation_maps(network_of(), torch.rand(1, 3, 50, 70))[TASK]
    assert found.maps.shape == (1, 2, 50, 70)
    assert not found.maps.requires_grad


def test_scores_of_a_map_by_hand():
    values = np.array([3.0, 1, -2, 0])
    inside = np.array([True, False, False, True])
    assert score_map(values, inside) == {"pointing": 1, "energy": 0.75, "pixel_auc": 0.75, "chance": 0.5}
    # of two equal maxima one lies in the box
    assert score_map(np.array([1.0, 1, 0]), np.array([True, False, False]))["pointing"] == 0.5
    assert score_map(np.array([-1.0, -2]), np.array([False, True]))["energy"] == 0
    assert np.isnan(score_map(np.array([1.0, 2]), np.array([True, True]))["pixel_auc"])


def test_pixel_auc_is_that_of_scikit_learn_with_ties():
    generator = np.random.default_rng(0)
    values, inside = generator.integers(0, 6, 300).astype(float), generator.random(300) < 0.3
    assert score_map(values, inside)["pixel_auc"] == pytest.approx(roc_auc_score(inside, values))


def test_what_is_negative_isnt_drawn():
    image = np.full((4, 6), 100, np.uint8)
    values = np.full((4, 6), -1.0)
    assert np.array(draw_map(image, values)).tolist() == np.full((4, 6, 3), 100).tolist()
    values[1, 2] = 5
    drawn = np.array(draw_map(image, values))
    assert (drawn != 100).any(axis=2).nonzero() == (np.array([1]), np.array([2]))


@pytest.fixture
def tiny(tmp_path):
    """Return an experiment on squares that have a label and a box."""
    tiny_manifest(tmp_path / "data", count=24).write(tmp_path / "tiny.parquet")
    own = {
        "manifest": "tiny.parquet",
        "tasks": ["classification", "localization"],
        "options": {"dataset": "nih_chestxray14"},
    }
    recipe = tiny_recipe(tmp_path / "recipe.yaml", datasets={"tiny": own})
    return open_experiment(load_recipe(str(recipe)), data_root=tmp_path, report=lambda _: None, progress=False)


def test_a_map_of_the_boxes_is_perfect_and_a_flat_one_is_chance(tiny, monkeypatch):
    network = network_of()
    manifest = tiny.manifests["tiny"]
    rows = iter(tiny.rows(Task("tiny", Kind.LOCALIZATION), "test").tolist())

    def perfect(network, images):
        maps = torch.zeros(len(images), 2, 64, 64)
        for own, row in zip(maps, rows, strict=False):
            for box in manifest[row].boxes:
                own[0, int(box.y1) : int(box.y2), int(box.x1) : int(box.x2)] = 1
        return {TASK: ActivationMaps(torch.zeros(len(images), 2), maps)}

    monkeypatch.setattr(map_comparison, "activation_maps", perfect)
    (found,) = compare_maps(network, tiny, "test", device=torch.device("cpu"), resamples=20)
    assert {name: own["value"] for name, own in found["scores"].items()} == pytest.approx(
        {"pointing": 1, "energy": 1, "pixel_auc": 1, "chance": 18 * 18 / 64**2}
    )
    assert found["images"] > 0
    monkeypatch.setattr(
        map_comparison,
        "activation_maps",
        lambda _, images: {TASK: ActivationMaps(torch.zeros(len(images), 2), torch.ones(len(images), 2, 64, 64))},
    )
    (flat,) = compare_maps(network, tiny, "test", device=torch.device("cpu"), resamples=0)
    scores = {name: own["value"] for name, own in flat["scores"].items()}
    assert scores["pointing"] == scores["energy"] == pytest.approx(scores["chance"])
    assert scores["pixel_auc"] == pytest.approx(0.5)
    assert "tiny: square" in map_table([flat])


def test_files_get_maps_in_their_own_geometry(tmp_path, capsys):
    calibration = {str(TASK): Calibration((1.0, None), (0.0, None), 20)}
    write_weights(network_of(), ModelCard(recipe="tiny", calibration=calibration), tmp_path / "model.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (50, 90), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    out = tmp_path / "maps"
    command = ["maps", str(tmp_path / "model.pt"), str(tmp_path / "wide.png"), "--out", str(out), "--any-image"]
    assert main(command) == 0
    content = json.loads((out / "wide_maps.json").read_text())
    assert content["method"] == "CAM"
    assert "research use only" in content["note"]
    # the one class with a threshold, which everything reaches
    entry = next(own for own in content["maps"] if own["label"] == "square")
    x, y = entry["peak_xy"]
    assert 0 <= x < 90
    assert 0 <= y < 50
    assert Image.open(out / entry["file"]).size == (90, 50)
    assert not list(out.glob(".part*"))
    assert main([*command, "--finding", "no_such"]) == 1
    assert "there is no such finding" in capsys.readouterr().err


def test_no_image_and_no_boxes_is_a_message(capsys):
    assert main(["maps", "no.pt"]) == 1
    assert "no image is named" in capsys.readouterr().err
