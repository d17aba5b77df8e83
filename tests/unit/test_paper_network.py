"""The paper's form of every branch together: gradients, determinism, and the number of parameters."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fx_monai.losses.consistency import consistency_loss
from fx_monai.losses.task_loss import task_loss
from fx_monai.models.config import (
    BackboneConfig,
    LocalizationConfig,
    ModelConfig,
    ProjectorConfig,
    SegmentationConfig,
)
from fx_monai.models.convert.foundation_x_localization import localization_spec
from fx_monai.models.convert.published import classification_spec, segmentation_spec
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Mode, Task, TaskSpec
from tests.unit.test_foundation_x import batch_of, nudge_zero_layers

CONFIG = ModelConfig(
    backbone=BackboneConfig(name="resnet18", pretrained="none", stage_norm=True),
    projector=ProjectorConfig(width=24),
    localization=LocalizationConfig(
        size="dino",
        width=64,
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        feedforward=32,
        denoising_queries=8,
    ),
    segmentation=SegmentationConfig(width=16, decoder="upernet"),
    image_size=64,
)
SPECS = [TaskSpec(Task(dataset, kind), ("x", "y")) for dataset in "ab" for kind in Kind]


def full_step(spec, *, boxes=True):
    """Return the network and the loss after the backward pass of a RELEASE step."""
    torch.manual_seed(0)
    network = FoundationX(CONFIG, SPECS)
    nudge_zero_layers(network)
    teacher = copy.deepcopy(network.trunk).eval()
    batch = batch_of(spec, boxes=boxes)
    trainable = groups_of(spec.task, Mode.RELEASE, network.module_groups())
    for name, module in network.module_groups().items():
        module.train(name in trainable).requires_grad_(name in trainable)
    output = network.forward_task(batch["image"], spec.task, batch=batch)
    with torch.no_grad():
        target = teacher.features(batch["image"] * 0.8, spec.task.kind)
    loss = task_loss(spec, output, batch)[0] + consistency_loss(output.features, target)
    loss.backward()
    return network, trainable, loss.item()


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.task.kind)
def test_gradients_reach_exactly_the_groups_of_the_phase(spec, boxes):
    network, trainable, loss = full_step(spec, boxes=boxes)
    assert 0 < loss < 50
    for name, group in network.module_groups().items():
        reached = {key for key, p in group.named_parameters() if p.grad is not None}
        assert reached == ({key for key, _ in group.named_parameters()} if name in trainable else set()), name


@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.task.kind)
def test_the_same_step_twice_gives_the_same_bits(spec):
    (first, _, loss), (second, _, again) = full_step(spec), full_step(spec)
    assert loss == again
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert (p.grad is None and q.grad is None) or torch.equal(p.grad, q.grad)


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_the_documented_numbers_of_parameters_are_those_of_the_recipe():
    recipe = load_recipe("foundation_x")
    of_kind = {
        Kind.CLASSIFICATION: classification_spec,
        Kind.LOCALIZATION: localization_spec,
        Kind.SEGMENTATION: segmentation_spec,
    }
    config = replace(recipe.model, backbone=replace(recipe.model.backbone, pretrained="none"))
    with torch.device("meta"):
        network = FoundationX(config, [of_kind[task.kind](task.dataset) for task in recipe.tasks])
    groups = network.module_groups()
    counted = {
        "backbone": millions(groups["backbone"]),
        "localization encoder, layers": millions(network.trunk.loc_encoder.encoder.layers),
        "localization encoder, rest": millions(groups["loc_encoder"])
        - millions(network.trunk.loc_encoder.encoder.layers),
        "localization decoder, each of 6": millions(groups["loc_decoder.tbx11k"]),
        "localization head, each of 6": millions(groups["loc_head.tbx11k"]),
        "segmentation decoder": millions(groups["seg_decoder"]),
        "classification and segmentation heads": sum(
            millions(group) for name, group in groups.items() if name.startswith(("cls_head", "seg_head"))
        ),
        "in all": millions(network),
    }
    page = (Path(__file__).resolve().parents[2] / "docs" / "network.md").read_text(encoding="utf-8")
    page = page.split("## Parameters")[1].split("## ")[0]
    documented = dict(re.findall(r"^\| ([\w ,]+?) \| +([\d.]+) \|", page, flags=re.MULTILINE))
    assert documented == {name: f"{value:.2f}" for name, value in counted.items()}
