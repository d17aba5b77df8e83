"""Batches: refusals, length of a pass, skipping without decoding."""

import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fx_monai.data import loader
from fx_monai.data.dataset import TaskDataset
from fx_monai.data.loader import TaskLoader, load_batches
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation
from fx_monai.errors import ConfigError
from fx_monai.keys import IMAGE, MASKS, ROW
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest


@pytest.fixture
def make(tmp_path):
    manifest = tiny_manifest(tmp_path)
    store = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    spec = TaskSpec(Task("tiny", Kind.LOCALIZATION), ("square",))
    return lambda rows, **options: TaskDataset(manifest, store, spec, np.arange(rows), seed=1, **options)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (0, {}, "the dataset: 0"),
        (4, {"batch_size": 0}, "batch_size: 0"),
        (4, {"positive_fraction": 1.5}, r"positive_fraction: 1\.5"),
        (4, {"positive_fraction": -0.5}, r"positive_fraction: -0\.5"),
    ],
)
def test_refusals(make, rows, options, message):
    with pytest.raises(ConfigError, match=message):
        TaskLoader(make(rows), seed=0, **{"batch_size": 2, **options})


@pytest.mark.parametrize("rows", [5, 7, 12])
@pytest.mark.parametrize("fraction", [None, 0.0, 0.5, 1.0])
def test_a_pass_has_as_many_samples_as_the_dataset(make, rows, fraction):
    loader = TaskLoader(make(rows), batch_size=1, seed=0, positive_fraction=fraction)
    drawn = [int(batch[ROW]) for batch in loader.batches(0, loader.num_batches)]
    assert len(drawn) == rows
    if fraction is not None:
        assert sum(row % 2 == 0 for row in drawn) == round(rows * fraction)


def test_skipped_batches_are_not_read(make):
    data = make(12)
    read, sample = [], data.sample
    data.sample = lambda position, draw: read.append(position) or sample(position, draw)
    loader = TaskLoader(data, batch_size=4, seed=0)
    assert len(list(loader.batches(0, 3, start=2))) == 1
    assert len(read) == 4


@pytest.mark.parametrize("start_method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes_of_either_kind_give_the_same_masks(tmp_path, monkeypatch, start_method):
    manifest = tiny_manifest(tmp_path)
    store = ImageStore.open_or_build(manifest, size=32, folder=tmp_path / "s")
    spec = TaskSpec(Task("tiny", Kind.SEGMENTATION), ("square",))
    data = TaskDataset(manifest, store, spec, np.arange(12), augmentation=Augmentation(), seed=1)
    alone = list(TaskLoader(data, batch_size=6, seed=0).batches(1, 2))
    monkeypatch.setattr(loader, "DataLoader", partial(DataLoader, multiprocessing_context=start_method))
    shared = list(TaskLoader(data, batch_size=6, seed=0, num_workers=1).batches(1, 2))
    for a, b in zip(alone, shared, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
        # pixels travel as they are stored
        assert b[IMAGE].dtype == torch.uint8
        assert b[MASKS].any()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_and_leave_the_global_generator_alone(make, workers):
    data = make(12, augmentation=Augmentation())
    alone = list(TaskLoader(data, batch_size=5, seed=0).batches(1, 4))
    state = torch.get_rng_state()
    shared = list(TaskLoader(data, batch_size=5, seed=0, num_workers=workers).batches(1, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert len(alone) == len(shared) == 4
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a[ROW], b[ROW])
        assert torch.equal(a[IMAGE], b[IMAGE])


def test_tasks_share_their_worker_processes(make):
    """Four tasks that ask for two workers have two in all; batches come in the order of the plans."""
    tasks = [Task(name, Kind.LOCALIZATION) for name in "abcd"]
    alone = {task: TaskLoader(make(6), batch_size=2, seed=number) for number, task in enumerate(tasks)}
    shared = {task: TaskLoader(own.dataset, batch_size=2, seed=own.seed, num_workers=2) for task, own in alone.items()}
    plans = [(task, plan) for number in range(3) for task in tasks for plan in alone[task].plans(0, 3)[number:][:1]]
    expected = [batch[ROW].tolist() for batch in load_batches(alone, plans)]
    before = len(multiprocessing.active_children())
    found = []
    for batch in load_batches(shared, plans):
        found.append(batch[ROW].tolist())
        assert len(multiprocessing.active_children()) - before <= 2
    assert found == expected
    assert len(found) == 12
