"""A run that is killed, stopped or broken off in its evaluation ends as if nothing had happened."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from ignite.engine import Events

from fx_monai.cli import main
from fx_monai.errors import CheckpointError
from tests.builders import tiny_data_root, tiny_recipe
from tests.runs import MLFlowHandler, assert_same, make_session, train, train_and_kill

ACCUMULATED = {
    "schedule.order": "interleaved",
    "schedule.accumulate": 2,
    "schedule.lock_classification": True,
    "teacher.update": "iteration",
    "teacher.ema_momentum_end": 1.0,
    "model.backbone.drop_path": 0.2,
    "model.backbone.train_norm_statistics": True,
}
OFTEN = {"checkpoint.every_seconds": 0}


@pytest.fixture
def data(tmp_path):
    return tiny_data_root(tmp_path / "data")


def test_killed_and_resumed_equals_uninterrupted(tmp_path, data):
    changes = {**ACCUMULATED, "schedule.cycles": 1, **OFTEN}
    whole = train(tmp_path / "whole", data, **changes)
    train_and_kill(tmp_path / "part", data, step=3, **changes)
    assert torch.load(tmp_path / "part" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert_same(whole, train(tmp_path / "part", data, resume=True, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"model.backbone.drop_path": 0.2}, ACCUMULATED], ids=["sequential", "accumulated"])
def test_killed_at_five_random_steps_equals_uninterrupted(tmp_path, data, changes):
    whole = train(tmp_path / "whole", data, **changes, **OFTEN)
    last = whole.schedule().total_steps
    steps = sorted(random.sample(range(2, last + 1), 5))
    for number, step in enumerate(steps):
        train_and_kill(tmp_path / "part", data, step=step, resume=number > 0, **changes, **OFTEN)
    assert_same(whole, train(tmp_path / "part", data, resume=True, **changes, **OFTEN))


def test_a_kill_costs_what_came_after_the_last_checkpoint_only(tmp_path, data):
    # nothing is saved inside the cycle, so the run goes back to the end of the first one (8 steps)
    train_and_kill(tmp_path / "part", data, step=12)
    resumed = make_session(tmp_path / "part", data, resume=True)
    assert resumed.trainer().state.iteration == 8


def test_evaluation_that_was_broken_off_is_made_up_for(tmp_path, data):
    whole = train(tmp_path / "whole", data)
    session = make_session(tmp_path / "part", data)
    validator = session.evaluator("val")
    # a stop signal in the middle of the last evaluation
    visits = []

    @validator.on(Events.ITERATION_COMPLETED)
    def _():
        visits.append(validator.state.iteration)
        if visits[-1] == 2 and visits.count(2) == 2:
            signal.raise_signal(signal.SIGTERM)

    session.trainer(validator=validator, train_handlers=[MLFlowHandler()]).run()
    assert session.checkpoints.stopped
    assert {row["cycle"] for row in session.history.scores} == {1}
    resumed = train(tmp_path / "part", data, resume=True)
    assert_same(whole, resumed)
    assert (tmp_path / "part" / "model.pt").read_bytes() == (tmp_path / "whole" / "model.pt").read_bytes()


@pytest.mark.slow
def test_sigterm_ends_the_command_with_success(tmp_path, data):
    recipe = tiny_recipe(tmp_path / "recipe.yaml", **{"schedule.cycles": 500, "evaluation.every_cycles": 500, **OFTEN})
    words = ["train", str(recipe), "--data-root", str(data), "--out", str(tmp_path / "out")]
    process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(main(words)))
    process.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "checkpoint_1.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=120)
    assert process.exitcode == 0
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert 1 < state["step"] < 4000


def test_damaged_and_foreign_checkpoints_are_refused_and_the_previous_one_offered(tmp_path, data):
    train(tmp_path / "out", data, **OFTEN, **{"schedule.cycles": 1})
    newest = tmp_path / "out" / "checkpoint.pt"
    previous = torch.load(tmp_path / "out" / "checkpoint_1.pt", weights_only=True)["step"]

    def resume():
        make_session(tmp_path / "out", data, resume=True, **OFTEN, **{"schedule.cycles": 1}).trainer()

    offer = rf"Take the previous one: rename checkpoint_1\.pt \(step {previous}\) to checkpoint\.pt"
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=f"can't be read as weights.*{offer}"):
        resume()
    torch.save({"state_dict": {}}, newest)
    with pytest.raises(CheckpointError, match=f"not a training checkpoint.*{offer}"):
        resume()
    newest.unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume.*Rename checkpoint_1\.pt"):
        resume()
    (tmp_path / "out" / "checkpoint_1.pt").rename(newest)
    resume()
