"""The file of a checkpoint: whole at every moment, with its predecessors, and the random state in it."""

import os
import random

import numpy as np
import pytest
import torch

from fx_monai.engine.rng import restore_rng, rng_state
from fx_monai.files import previous_file, save_atomically


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


def test_random_state_survives_the_file(tmp_path):
    save_atomically(rng_state(), tmp_path / "rng.pt")

    def draw():
        return [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)]

    first = draw()
    assert draw() != first
    restore_rng(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draw() == first
