"""Invariants of the network, its losses and its scores, that one batch shows; see :mod:`tests.invariants.checks`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fx_monai.data.manifest import Manifest
from fx_monai.engine.consistency import Consistency
from fx_monai.errors import ConfigError
from fx_monai.losses import task_loss
from fx_monai.metrics.scores import TaskScorer
from fx_monai.models.config import ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec

Batch = Mapping[str, Any]
SHARED = {Kind.LOCALIZATION: {"loc_encoder"}, Kind.SEGMENTATION: {"seg_decoder"}}


def check_pull(network: FoundationX, consistency: Consistency, task: Task, batch: Batch) -> None:
    """I7: the consistency loss has a gradient in the branch of the student, none in the teacher."""
    network.requires_grad_(True)
    network.zero_grad()
    features = network.forward_task(batch["image"], task, batch=batch).features
    consistency.loss(features, batch["teacher_image"], task.kind, counted=True).backward()
    pulled = {
        name
        for name, module in network.trunk.named_children()
        if any(p.grad is not None and p.grad.any() for p in module.parameters())
    }
    assert pulled == {"backbone"} | SHARED.get(task.kind, set())
    assert all(p.grad is None for p in consistency.teacher.trunk.parameters())


def check_equals_agree(network: FoundationX, consistency: Consistency, task: Task, batch: Batch) -> None:
    """I8: student = teacher, evaluation mode, the same image: the consistency loss is 0."""
    twin = network.with_trunk(consistency.teacher.trunk).eval()
    with torch.no_grad():
        features = twin.forward_task(batch["image"], task).features
        assert float(consistency.loss(features, batch["image"], task.kind, counted=True)) == 0


def check_added_dataset(old: FoundationX, specs: Sequence[TaskSpec], start: Callable[[FoundationX], Any]) -> None:
    """I13: new tasks add keys and nothing else; the old weights fit and leave only those missing.

    Args:
        old: the network without the new tasks.
        specs: old and new tasks.
        start: gives a network the weights of ``old``.
    """
    network = FoundationX(old.config, specs)
    fresh = copy.deepcopy(network.state_dict())
    start(network)
    known, after = (_tensors(module.state_dict()) for module in (old, network))
    assert {n: v.shape for n, v in known.items()}.items() <= {n: v.shape for n, v in after.items()}.items()
    added = {spec.task.dataset for spec in specs} - {task.dataset for task in old.specs}
    assert all(added & set(name.split(".")) for name in after.keys() - known.keys())
    for name, value in after.items():
        assert torch.equal(value, known.get(name, fresh[name])), name


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    # without the model card, which names all tasks
    return {name: value for name, value in state.items() if name != "_extra_state"}


def check_too_many_queries() -> None:
    """I14: more queries than memory tokens are refused, with both numbers."""
    spec = TaskSpec(Task("d", Kind.LOCALIZATION), ("a",))
    try:
        FoundationX(ModelConfig(image_size=64), [spec])
    except ConfigError as error:
        assert "100 queries" in error.problem  # noqa: PT017 (a check of a broken network must not end as pytest.fail)
        assert "84 memory tokens" in error.problem  # noqa: PT017
    else:
        raise AssertionError("100 queries of 84 tokens were taken")


def check_denoising(network: FoundationX, task: Task, batch: Batch) -> None:
    """I15: denoising queries are in training, but neither among the predictions nor among the compared features."""
    queries = network.config.localization.num_queries
    network.train()
    trained = network.forward_task(batch["image"], task, batch=batch)
    assert "denoising_target" in trained.predictions
    assert trained.predictions["logits"].shape[2] == queries
    network.eval()
    evaluated = network.forward_task(batch["image"], task, batch=batch)
    assert "denoising_target" not in evaluated.predictions
    assert {n: f.shape for n, f in trained.features.items()} == {n: f.shape for n, f in evaluated.features.items()}
    assert network.predict_tasks(batch["image"], [task])[task]["logits"].shape[1] == queries


def check_empty_masks() -> None:
    """I16: nothing found where nothing is counts 1, something found 0; beside it the mean over positive images."""
    spec = TaskSpec(Task("d", Kind.SEGMENTATION), ("a",))
    empty, full = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    scorer = TaskScorer(spec)
    # right: nothing; wrong: something; missed: nothing where something is
    for row, (found, true) in enumerate(((empty, empty), (full, empty), (empty, full))):
        annotated = torch.ones(1, 1, dtype=torch.bool)
        batch = {"masks": true, "masks_annotated": annotated, "row": torch.tensor([row])}
        scorer.add({"logits": found * 2 - 1}, batch)
    values = scorer.scores().values()
    assert np.isclose(values["dice_all"], 1 / 3)
    assert values["dice_positive"] == 0


def check_one_class() -> None:
    """I17: a class with one value only has no AUC and doesn't touch the mean of the others."""
    scorer = TaskScorer(TaskSpec(Task("d", Kind.CLASSIFICATION), ("both", "one")))
    for row, (logit, label) in enumerate(((2.0, 1.0), (-2.0, 0.0))):
        batch = {"labels": torch.tensor([[label, 1.0]]), "row": torch.tensor([row])}
        scorer.add({"logits": torch.tensor([[logit, logit]])}, batch)
    values = scorer.scores().values()
    assert np.isnan(values["auc/one"])
    assert values["auc_macro"] == values["auc/both"] == 1


def check_classes(network: FoundationX, manifests: Mapping[str, Manifest], image: Tensor) -> None:
    """I18: every head has the classes of its own dataset."""
    names = {Kind.CLASSIFICATION: "labels", Kind.LOCALIZATION: "boxes", Kind.SEGMENTATION: "masks"}
    for task, spec in network.specs.items():
        assert set(spec.classes) <= set(getattr(manifests[task.dataset].classes, names[task.kind]))
    for task, output in network.predict_tasks(image).items():
        axis = 1 if task.kind is Kind.SEGMENTATION else -1
        assert output["logits"].shape[axis] == len(network.specs[task].classes), task


def check_label_names(read: Callable[[Sequence[str]], Manifest]) -> None:
    """I18: labels are found by their column's name, wherever the column stands (the reference reads by position).

    Args:
        read: returns the manifest of a table with the columns in the given order, in which only ``a`` is positive.
    """
    for order in (["a", "b"], ["b", "a"]):
        manifest = read(order)
        assert dict(zip(manifest.classes.labels, manifest.labels()[0].tolist(), strict=True)) == {"a": 1.0, "b": 0.0}


def check_no_boxes(network: FoundationX, task: Task, batch: Batch) -> None:
    """I19: images that were looked at and have no box teach the queries to find nothing, and count in the score."""
    empty = {**batch, "boxes": [b[:0] for b in batch["boxes"]], "box_labels": [b[:0] for b in batch["box_labels"]]}
    network.train().requires_grad_(True).zero_grad()
    loss, _ = task_loss.task_loss(network.specs[task], network.forward_task(batch["image"], task, batch=empty), empty)
    assert torch.isfinite(loss)
    assert loss > 0
    loss.backward()
    gradients = [p.grad for p in network.module_groups()[f"loc_head.{task.dataset}"].parameters() if p.grad is not None]
    assert any(gradient.any() for gradient in gradients)
    network.eval()
    scorer = TaskScorer(network.specs[task])
    with torch.no_grad():
        scorer.add(network.predict_tasks(batch["image"], [task])[task], empty)
    assert scorer.scores().values(), "an evaluation of images without boxes"


def check_same_samples(one: Callable[..., Tensor], other: Callable[..., Tensor]) -> None:
    """I20: deformable attention has the same values and gradients on its two ways, of CPU and of accelerators."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 5), (3, 3)]
    value = torch.rand(2, 39, 2, 4, generator=generator)
    points = torch.rand(2, 7, 2, 2, 3, 2, generator=generator) * 1.4 - 0.2
    weights = torch.rand(2, 7, 2, 6, generator=generator)
    found = []
    for way in (one, other):
        inputs = [tensor.clone().requires_grad_() for tensor in (value, points, weights)]
        output = way(*inputs, shapes)
        output.square().sum().backward()
        found.append([output.detach(), *(tensor.grad for tensor in inputs)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
