"""Samples: sides, policies, and independence of everything but seed, draw and row."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from fx_monai.data.annotations import annotated_rows
from fx_monai.data.dataset import TaskDataset, collate, to_device
from fx_monai.data.manifest import Classes, Manifest, Record
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation
from fx_monai.errors import ConfigError
from fx_monai.keys import BOXES, BOXES_ANNOTATED, IMAGE, LABELS, MASKS, MASKS_ANNOTATED, ROW, TEACHER_IMAGE
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

NO_ROWS = np.zeros(0, np.int64)
KEYS = {
    Kind.CLASSIFICATION: {LABELS},
    Kind.LOCALIZATION: {BOXES, "box_labels", BOXES_ANNOTATED},
    Kind.SEGMENTATION: {MASKS, MASKS_ANNOTATED},
}


def empty(root, *names):
    return Manifest.from_records([], dataset="d", classes=Classes(labels=names), root=root)


def spec(*names, kind=Kind.CLASSIFICATION):
    return TaskSpec(Task("d", kind), names)


@pytest.mark.parametrize("name", ["left_lung", "LeftLung", "lung-left", "RIGHT hilum", "lung (right)"])
def test_sides_are_found_however_they_are_written(tmp_path, name):
    with pytest.raises(ConfigError, match="has a side"):
        TaskDataset(empty(tmp_path, name), None, spec(name), NO_ROWS, augmentation=Augmentation(flip=True))


@pytest.mark.parametrize("name", ["bright", "Cleft", "upright view"])
def test_words_that_only_contain_a_side_have_none(tmp_path, name):
    TaskDataset(empty(tmp_path, name), None, spec(name), NO_ROWS, augmentation=Augmentation(flip=True))


def test_mirrored_labels_change_sides(tmp_path):
    names = ("left effusion", "right effusion")
    Image.new("L", (32, 32), 90).save(tmp_path / "a.png")
    record = Record("d", "a", "a.png", 32, 32, labels=[1.0, 0.0])
    manifest = Manifest.from_records([record], dataset="d", classes=Classes(labels=names), root=tmp_path)
    store = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    data = TaskDataset(
        manifest, store, spec(*names), np.array([0]), augmentation=Augmentation(flip=True), laterality=(names,)
    )
    assert {tuple(data.sample(0, draw)[LABELS].tolist()) for draw in range(12)} == {(1.0, 0.0), (0.0, 1.0)}


@pytest.mark.parametrize("kind", list(Kind))
def test_samples_hold_only_the_keys_of_their_kind(tmp_path, kind):
    manifest = tiny_manifest(tmp_path)
    store = ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "s")
    own = TaskSpec(Task("tiny", kind), ("square",))
    rows = annotated_rows(manifest, own)
    plain = TaskDataset(manifest, store, own, rows)
    assert plain[0].keys() == {IMAGE, ROW} | KEYS[kind]
    assert (plain[0][IMAGE].shape, plain[0][IMAGE].dtype) == ((1, 64, 64), torch.uint8)
    data = TaskDataset(manifest, store, own, rows, augmentation=Augmentation(), seed=4)
    assert data[0].keys() == {IMAGE, TEACHER_IMAGE, ROW} | KEYS[kind]
    # neither what was drawn before nor the process counts
    copy = pickle.loads(pickle.dumps(data))
    copy.sample(5, 1)
    one, two = data.sample(2, 9), copy.sample(2, 9)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one[IMAGE], data.sample(2, 8)[IMAGE])


def test_classes_follow_the_task_not_the_manifest(tmp_path):
    Image.new("L", (32, 32), 90).save(tmp_path / "a.png")
    record = Record("d", "a", "a.png", 32, 32, labels=[0.0, 1.0, float("nan")])
    manifest = Manifest.from_records([record], dataset="d", classes=Classes(labels=("a", "b", "c")), root=tmp_path)
    store = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    labels = TaskDataset(manifest, store, spec("c", "b", "a"), np.array([0]))[0][LABELS]
    assert json.dumps(labels.tolist()) == "[NaN, 1.0, 0.0]"


def test_sixteen_bit_stores_give_the_same_samples_but_finer(tmp_path):
    manifest = tiny_manifest(tmp_path)
    coarse, fine = (
        TaskDataset(
            manifest,
            ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "s", bits=bits),
            TaskSpec(Task("tiny", Kind.LOCALIZATION), ("square",)),
            np.arange(12),
            augmentation=Augmentation(),
        )
        for bits in (8, 16)
    )
    one, two = (to_device(collate([d.sample(i, 3) for i in range(4)]), torch.device("cpu")) for d in (coarse, fine))
    for key in (IMAGE, TEACHER_IMAGE):
        assert two[key].dtype == torch.float32
        torch.testing.assert_close(one[key], two[key], atol=0.02, rtol=0)
        assert len(two[key].unique()) > len(one[key].unique())
