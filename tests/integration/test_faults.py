"""What users and machines do to a run: refusals, full disks, two runs in a folder, signals, losses not finite."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import torch
from ignite.engine import Events

from fx_monai.apps import training
from fx_monai.engine.processes import rank
from fx_monai.errors import CheckpointError, ConfigError, FxError
from tests.builders import tiny_data_root, tiny_recipe
from tests.faults import full_disk
from tests.processes import run_together
from tests.runs import MLFlowHandler, assert_same, make_session, train

PATIENCE = 600
"""Seconds after which a process that is waited for counts as stuck; a busy machine is slow."""
OFTEN = {"checkpoint.every_seconds": 0}
CSV = {"datasets": {"csv": {"root": "csv", "tasks": ["classification"]}}}
NO_CLASS = {"datasets": {"csv": {**CSV["datasets"]["csv"], "classes": {"classification": ["x"]}}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_data_root(tmp_path_factory.mktemp("data") / "data")


def at_step(step, action):
    """Return what lets an action happen before a step of a trainer."""
    return lambda trainer: trainer.add_event_handler(Events.ITERATION_STARTED(once=step), lambda: action(trainer))


def stop(trainer):
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "nowhere"}, "is not a folder"),
        (NO_CLASS, "there is no class 'x'"),
        ({"model.image_size": 32}, "at least 64"),
    ],
)
def test_a_refused_training_leaves_no_folder(tmp_path, data, changes, message):
    changes = dict(changes)
    root = data / changes.pop("root", ".")
    with pytest.raises(ConfigError, match=message):
        make_session(tmp_path / "out", root, **changes)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_ends_the_run_and_costs_nothing_that_was_saved(tmp_path, data):
    changes = {**CSV, **OFTEN}
    whole = train(tmp_path / "whole", data, **changes)
    size = (tmp_path / "whole" / "checkpoint.pt").stat().st_size

    def fill(trainer):
        disk.enter_context(full_disk(after=size // 2))

    with ExitStack() as disk, pytest.raises(CheckpointError, match=r"checkpoint\.pt: the file can't be written"):
        train(tmp_path / "part", data, before=at_step(3, fill), **changes)
    files = {path.name for path in (tmp_path / "part").glob("checkpoint*")}
    assert files == {"checkpoint.pt", "checkpoint_1.pt"}
    assert torch.load(tmp_path / "part" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert_same(whole, train(tmp_path / "part", data, resume=True, **changes))


def test_two_runs_on_one_folder(tmp_path, data):
    late = make_session(tmp_path / "out", data, **CSV)

    def start_others(trainer):
        for resume in (False, True):
            with pytest.raises(CheckpointError, match="another run is writing into the output folder"):
                make_session(tmp_path / "out", data, resume=resume, **CSV)
        # this one had passed the first check before the other began
        with pytest.raises(CheckpointError, match="another run is writing into the output folder"):
            late.trainer(train_handlers=[MLFlowHandler()]).run()

    train(tmp_path / "out", data, before=at_step(3, start_others), **CSV)
    train(tmp_path / "out", data, resume=True, **CSV)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_moves_anything(tmp_path, data):
    def poison(trainer):
        head = next(m for n, m in trainer.network.module_groups().items() if n.startswith("cls_head"))
        with torch.no_grad():
            next(head.parameters()).fill_(torch.nan)

    with pytest.raises(FxError, match=r"cycle 2, csv/classification, release, step 1: the loss is nan, manifest rows"):
        train(tmp_path / "out", data, before=at_step(3, poison), **CSV, **OFTEN)
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    values = [v for v in state["modules"]["student"].values() if isinstance(v, torch.Tensor)]
    assert all(value.isfinite().all() for value in values)
    train(tmp_path / "out", data, resume=True, **CSV, **OFTEN)


def test_workers_and_audit_may_change_and_the_seed_may_not(tmp_path, data):
    whole = train(tmp_path / "whole", data, **CSV)
    train(tmp_path / "part", data, before=at_step(3, stop), **CSV)
    with pytest.raises(CheckpointError, match=r"made with another recipe\.seed\. "):
        make_session(tmp_path / "part", data, resume=True, seed=1, **CSV).trainer(train_handlers=[MLFlowHandler()])
    other = {"data.num_workers": 1, "schedule.audit": True}
    assert_same(whole, train(tmp_path / "part", data, resume=True, **CSV, **other))


def test_a_signal_in_the_test_evaluation_loses_that_evaluation_only(tmp_path, data, monkeypatch, capsys):
    session = train(tmp_path / "out", data, **CSV)
    monkeypatch.setattr(training, "write_results", stop)
    session.finish()
    assert session.checkpoints.stopped
    assert "go on with --resume" in capsys.readouterr().out
    monkeypatch.undo()
    again = train(tmp_path / "out", data, resume=True, **CSV)
    again.finish()
    assert (tmp_path / "out" / "results.json").is_file()


def test_two_sigterms_are_one_and_a_second_ctrl_c_ends_at_once(tmp_path, data):
    def send(*numbers):
        return lambda trainer: [signal.raise_signal(number) for number in numbers]

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out", data, before=at_step(2, send(signal.SIGINT, signal.SIGINT)), **CSV)
    assert not (tmp_path / "out" / "checkpoint.pt").exists()
    stopped = train(tmp_path / "out", data, before=at_step(3, send(signal.SIGTERM, signal.SIGTERM)), **CSV)
    assert stopped.checkpoints.stopped
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] == 3


@pytest.mark.slow
def test_stopped_in_every_step_equals_uninterrupted(tmp_path, data):
    """Every kind of phase, its first and its last step, and the end of a cycle."""
    changes = {"schedule.cycles": 1, "model.backbone.drop_path": 0.2}
    whole = train(tmp_path / "whole", data, **changes)
    total = whole.schedule().total_steps
    for step in range(1, total + 1):
        part = train(tmp_path / "part", data, resume=step > 1, before=at_step(step, stop), **changes)
        assert part.checkpoints.stopped
    assert_same(whole, train(tmp_path / "part", data, resume=True, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves_although_there_are_workers(tmp_path, data, number):
    recipe = tiny_recipe(
        tmp_path / "recipe.yaml",
        **{"schedule.cycles": 500, "evaluation.every_cycles": 500, "data.num_workers": 2, **OFTEN},
    )
    words = ["train", str(recipe), "--data-root", str(data), "--out", str(tmp_path / "out")]
    with (tmp_path / "errors").open("w") as errors:
        command = [sys.executable, "-m", "fx_monai", *words]
        process = subprocess.Popen(command, start_new_session=True, stdout=errors, stderr=errors)
    try:
        wait_for(tmp_path / "out" / "checkpoint_1.pt")
        os.killpg(process.pid, number)
        assert process.wait(timeout=PATIENCE) == 0, (tmp_path / "errors").read_text()
    finally:
        process.kill()
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] < 4000


def wait_for(path):
    deadline = time.monotonic() + PATIENCE
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert path.is_file()


@pytest.mark.slow
def test_killed_from_outside_at_any_moment_equals_uninterrupted(tmp_path, data):
    """SIGKILL by the clock, so that it also strikes while a checkpoint is written, which is most of the time here."""
    changes = {**CSV, **OFTEN, "schedule.cycles": 20, "evaluation.every_cycles": 20}
    whole = train(tmp_path / "whole", data, **changes)
    steps = []
    for seconds in (0.0, 0.13, 0.29, 0.41, 0.53):
        process = multiprocessing.get_context("fork").Process(
            target=train, args=(tmp_path / "part", data), kwargs={"resume": bool(steps), **changes}
        )
        process.start()
        newest = (tmp_path / "part" / "checkpoint.pt").stat().st_ino if steps else None
        deadline = time.monotonic() + PATIENCE
        while not changed(tmp_path / "part" / "checkpoint.pt", newest) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.join()
        steps.append(torch.load(tmp_path / "part" / "checkpoint.pt", weights_only=True)["step"])
    assert steps == sorted(steps)
    assert_same(whole, train(tmp_path / "part", data, resume=True, **changes))


def changed(path, inode):
    return path.is_file() and path.stat().st_ino != inode


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_resumed_with_another_number_of_processes(tmp_path, data, before, after):
    """Nothing here draws at random inside the network, so that it goes on as it would have."""
    whole = train(tmp_path / "whole", data, **CSV)

    def part(resume):
        session = train(tmp_path / "part", data, resume=resume, before=None if resume else at_step(3, stop), **CSV)
        return session.network.state_dict() if rank() == 0 else session.checkpoints.stopped

    run_together(lambda: part(resume=False), tmp_path / "first", processes=before)
    state = run_together(lambda: part(resume=True), tmp_path / "second", processes=after)[0]
    for name, value in whole.network.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
