"""Network, losses and scores are broken on purpose, one by one, and the check of the invariant notices."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from fx_monai.data.dataset import to_device
from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Classes
from fx_monai.engine import consistency as engine_consistency
from fx_monai.engine.consistency import Consistency
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.schedule import build_schedule
from fx_monai.losses import task_loss
from fx_monai.metrics import classification, scores, segmentation
from fx_monai.models import foundation_x, localization_light
from fx_monai.models.card import ModelCard
from fx_monai.models.continual import start_from
from fx_monai.models.deformable_sampling import sample_planes, sample_rows
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.trunk import TrunkOutput
from fx_monai.models.weights import write_weights
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import picture
from tests.invariants.network_checks import (
    check_added_dataset,
    check_classes,
    check_denoising,
    check_empty_masks,
    check_equals_agree,
    check_label_names,
    check_no_boxes,
    check_one_class,
    check_pull,
    check_same_samples,
    check_too_many_queries,
)
from tests.unit.test_lock_release import CONFIG, TASKS, loaders  # noqa: F401 (a fixture)

LOCALIZATION = TASKS[Kind.LOCALIZATION]
DENOISING = replace(CONFIG, localization=replace(CONFIG.localization, denoising_queries=4))
MANIFESTS = {"tiny": SimpleNamespace(classes=Classes(labels=("square",), boxes=("square",), masks=("square",)))}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FoundationX(DENOISING, [TaskSpec(task, ("square",)) for task in TASKS.values()])


@pytest.fixture
def batches(loaders):  # noqa: F811
    return {task: to_device(next(loader.batches(0, 1)), torch.device("cpu")) for task, loader in loaders.items()}


@pytest.fixture
def consistency(network):
    schedule = build_schedule(dict.fromkeys(TASKS.values(), 1), cycles=1)
    return Consistency(EMATeacher(network.trunk), 0.5, schedule)


def broken(check, *arguments):
    with pytest.raises((AssertionError, RuntimeError)):
        check(*arguments)


@pytest.mark.parametrize("kind", list(Kind))
def test_i7_student_without_gradient(network, consistency, batches, monkeypatch, kind):
    task = TASKS[kind]
    check_pull(network, consistency, task, batches[task])
    features = TrunkOutput.features
    # what the released code does to localization
    monkeypatch.setattr(TrunkOutput, "features", lambda self: {n: f.detach() for n, f in features(self).items()})
    broken(check_pull, network, consistency, task, batches[task])


def test_i7_teacher_with_gradient(network, consistency, batches, monkeypatch):
    def without_stop(student, teacher, *, counted=True):
        return torch.stack([(student[n] - f).square().mean() for n, f in teacher.items()]).mean()

    consistency.teacher.trunk.requires_grad_(True)
    monkeypatch.setattr(EMATeacher, "features", EMATeacher.features.__wrapped__)
    monkeypatch.setattr(engine_consistency, "consistency_loss", without_stop)
    broken(check_pull, network, consistency, LOCALIZATION, batches[LOCALIZATION])


def in_train_mode(self, image, kind):
    self.trunk.train()
    return {n: f.detach() for n, f in self.trunk.features(image, kind).items()}


def at_other_places(self, image, kind):
    return {n: f.detach().roll(1, dims=1) for n, f in self.trunk.features(image, kind).items()}


@pytest.mark.parametrize("features", [in_train_mode, at_other_places])
def test_i8_teacher_that_differs(network, consistency, batches, monkeypatch, features):
    check_equals_agree(network, consistency, LOCALIZATION, batches[LOCALIZATION])
    monkeypatch.setattr(EMATeacher, "features", features)
    broken(check_equals_agree, network, consistency, LOCALIZATION, batches[LOCALIZATION])


def test_i13_heads_that_know_of_each_other(network, tmp_path, monkeypatch):
    write_weights(network, ModelCard(), tmp_path / "model.pt")
    specs = [*network.specs.values(), TaskSpec(Task("new", Kind.CLASSIFICATION), ("x",))]

    def start(fresh):
        start_from(fresh, tmp_path / "model.pt")

    check_added_dataset(network, specs, start)
    broken(check_added_dataset, network, specs, lambda fresh: None)
    build = FoundationX._build_heads

    def of_all(self, spec):
        return build(self, replace(spec, classes=tuple(map(str, self.specs))))

    monkeypatch.setattr(FoundationX, "_build_heads", of_all)
    broken(check_added_dataset, network, specs, lambda fresh: None)


def test_i14_queries_that_nobody_counts(monkeypatch):
    check_too_many_queries()
    for module in (foundation_x, localization_light):
        monkeypatch.setattr(module, "check_queries", lambda *_: None)
    broken(check_too_many_queries)


def test_i15_denoising_queries_among_the_predictions(network, batches, monkeypatch):
    check_denoising(network, LOCALIZATION, batches[LOCALIZATION])
    pack = localization_light.pack_predictions
    monkeypatch.setattr(
        localization_light,
        "pack_predictions",
        lambda layers, queries, denoising: pack(layers, layers["logits"][0].shape[1], denoising),
    )
    broken(check_denoising, network, LOCALIZATION, batches[LOCALIZATION])


def test_i16_other_policies_for_empty_masks(monkeypatch):
    check_empty_masks()
    dice, mean = scores.dice_per_image, segmentation.mean_where
    with monkeypatch.context() as patch:
        patch.setattr(scores, "dice_per_image", lambda found, true: dice(found, true) * true.flatten(2).any(-1))
        broken(check_empty_masks)
    monkeypatch.setattr(segmentation, "mean_where", lambda v, chosen, *rest: mean(v, np.ones_like(chosen), *rest))
    broken(check_empty_masks)


def test_i17_one_class_with_a_guess_and_in_the_mean(monkeypatch):
    check_one_class()
    with monkeypatch.context() as patch:
        rank = classification.rank
        coin = SimpleNamespace(auc_and_ap=lambda counts: (np.full(counts.shape[1], 0.5),) * 2)
        patch.setattr(classification, "rank", lambda s, labels: rank(s, labels) or coin)
        broken(check_one_class)
    monkeypatch.setattr(classification, "means", lambda values: {n: v.mean(axis=0) for n, v in values.items()})
    broken(check_one_class)


def test_i18_fourteen_classes_for_all(monkeypatch):
    specs = [TaskSpec(task, ("square",)) for task in TASKS.values()]
    image = torch.rand(1, 1, 64, 64)
    check_classes(FoundationX(CONFIG, specs), MANIFESTS, image)
    build = FoundationX._build_heads
    fourteen = tuple(map(str, range(14)))
    monkeypatch.setattr(FoundationX, "_build_heads", lambda self, spec: build(self, replace(spec, classes=fourteen)))
    broken(check_classes, FoundationX(CONFIG, specs), MANIFESTS, image)


def test_i18_columns_by_position(tmp_path):
    def read(order):
        picture(tmp_path / "images" / "0.png")
        pd.DataFrame([{"image": "0.png", "a": 1, "b": 0}])[["image", *order]].to_csv(tmp_path / "labels.csv")
        return index_dataset("csv", tmp_path, options={"label_columns": ",".join(order)})

    def by_position(order):
        return SimpleNamespace(classes=Classes(labels=("a", "b")), labels=read(order).labels)

    check_label_names(read)
    broken(check_label_names, by_position)


def test_i19_images_without_boxes_that_are_skipped(network, batches, monkeypatch):
    check_no_boxes(network, LOCALIZATION, batches[LOCALIZATION])
    criterion = task_loss.set_criterion
    monkeypatch.setattr(
        task_loss,
        "set_criterion",
        lambda predictions, targets: {
            name: part * float(any(len(boxes) for boxes in targets.boxes))
            for name, part in criterion(predictions, targets).items()
        },
    )
    broken(check_no_boxes, network, LOCALIZATION, batches[LOCALIZATION])


def test_i20_samples_that_are_shifted():
    check_same_samples(sample_rows, sample_planes)
    broken(check_same_samples, sample_rows, lambda v, points, *rest: sample_planes(v, points + 0.01, *rest))
