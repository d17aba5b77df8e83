"""The file of a checkpoint: whole at every moment, with its predecessors, and the random state in it."""

import os
import random

import numpy as np
import pytest
import torch

from fx_monai.engine.rng import restore_rng, rng_state
from fx_monai.engine.run_lock import RunLock
from fx_monai.errors import CheckpointError
from fx_monai.files import previous_file, save_atomically
from tests.faults import full_disk


def steps(folder):
    return {path.name: torch.load(path, weights_only=True)["step"] for path in sorted(folder.iterdir())}


def test_predecessors_are_kept(tmp_path):
    for step in range(5):
        save_atomically({"step": step}, tmp_path / "checkpoint.pt", previous=2)
    assert steps(tmp_path) == {"checkpoint.pt": 4, "checkpoint_1.pt": 3, "checkpoint_2.pt": 2}
    assert previous_file(tmp_path / "checkpoint.pt", 2).name == "checkpoint_2.pt"


def test_without_hard_links_copies_are_kept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    for step in range(2):
        save_atomically({"step": step}, tmp_path / "checkpoint.pt", previous=1)
    assert steps(tmp_path) == {"checkpoint.pt": 1, "checkpoint_1.pt": 0}


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_there_is_a_whole_checkpoint_wherever_saving_ends(tmp_path, monkeypatch, call, number):
    path = tmp_path / "checkpoint.pt"
    for step in range(3):
        save_atomically({"step": step}, path, previous=2)
    calls = []
    real = getattr(os, call)

    def end(*arguments):
        calls.append(arguments)
        if len(calls) > number:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(os, call, end)
    try:
        save_atomically({"step": 3}, path, previous=2)
    except KeyboardInterrupt:
        assert torch.load(path, weights_only=True)["step"] in (2, 3)
    else:
        assert number >= 1
    monkeypatch.undo()
    save_atomically({"step": 4}, path, previous=2)
    assert torch.load(path, weights_only=True)["step"] == 4


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_atomically({"step": 0}, path, previous=1)
    with full_disk(after=100_000), pytest.raises(CheckpointError, match=r"can't be written \(.*Make room"):
        save_atomically({"step": 1, "large": torch.zeros(100_000)}, path, previous=1)
    assert steps(tmp_path) == {"checkpoint.pt": 0}


def test_what_is_no_fault_of_the_disk_is_not_blamed_on_it(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("other")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="other"):
        save_atomically({}, tmp_path / "checkpoint.pt")
    assert not list(tmp_path.iterdir())


def test_one_run_at_a_time_holds_a_folder(tmp_path):
    first, second = RunLock(tmp_path / "out"), RunLock(tmp_path / "out")
    second.check()
    assert not (tmp_path / "out").exists()
    with first:
        first.check()
        for ask in (second.check, second.take):
            with pytest.raises(CheckpointError, match="another run is writing"):
                ask()
    second.check()
    with second:
        pass


def test_random_state_survives_the_file(tmp_path):
    save_atomically(rng_state(), tmp_path / "rng.pt")

    def draw():
        return [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)]

    first = draw()
    assert draw() != first
    restore_rng(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draw() == first
