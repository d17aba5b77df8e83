"""The invariants of a run over a cycle of the demo recipe: five datasets, the real network, every phase."""

import copy
import random

import pytest
import torch

from fx_monai.apps.training import TrainingSession
from fx_monai.data.dataset import to_device
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.engine.learning_rate import LearningRate, by_cycle
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.task_loss import initial_loss, task_loss
from fx_monai.types import Kind
from tests.invariants.checks import (
    Trace,
    check_gradients,
    check_lock_lengths,
    check_lock_release,
    check_losses,
    check_optimiser,
    check_order,
    check_teacher,
    check_unknown_labels,
)
from tests.invariants.network_checks import (
    check_classes,
    check_denoising,
    check_equals_agree,
    check_no_boxes,
    check_pull,
)
from tests.runs import assert_same, train, train_and_kill

# 64 pixels and two batches a phase; statistics on, so that a locked BatchNorm that still learns would show
SMALL = {
    "model.image_size": 64,
    "model.localization.num_queries": 40,
    "model.localization.denoising_queries": 10,
    "model.backbone.train_norm_statistics": True,
    "schedule.batch_size": 3,
    "schedule.min_batches": {},
    "schedule.max_batches": 2,
}
CLIP, CONSISTENCY, MOMENTUM = 1.0, 0.5, 0.8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a session before training, and the trace of one cycle of it."""
    folder = tmp_path_factory.mktemp("demo")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("FX_MONAI_CACHE", str(folder / "cache"))
    write_demo_cohort(folder / "cohort", num_images=50, seed=0, workers=1)
    session = TrainingSession("demo", data_root=folder / "cohort", output_dir=folder, overrides=SMALL, device="cpu")
    fresh = copy.deepcopy(session.network)
    schedule = session.schedule(cycles=1)
    trainer = CyclicTrainer(
        device="cpu",
        max_epochs=1,
        network=session.network,
        optimiser=session.optimiser,
        schedule=schedule,
        loaders=session.experiment.loaders(session.experiment.records("train")),
        teacher=session.teacher,
        consistency=CONSISTENCY,
        clip_norm=CLIP,
        train_handlers=[LearningRate(session.optimiser, by_cycle(schedule, final_fraction=0.0))],
    )
    trace = Trace(trainer, ema_momentum=MOMENTUM)
    trainer.run()
    monkey.undo()
    return session, fresh, trace


def first_batch(session, kind):
    task = next(task for task in session.network.specs if task.kind is kind)
    loader = session.experiment.loaders(session.experiment.records("train"))[task]
    return task, to_device(next(loader.batches(0, 1)), torch.device("cpu"))


def test_i1_to_i5_phases_move_their_groups_and_nothing_else(run):
    check_lock_release(run[2])


def test_i6_teacher(run):
    check_teacher(run[2])


@pytest.mark.parametrize("kind", list(Kind))
def test_i7_i8_consistency(run, kind):
    session, _, trace = run
    check_pull(session.network, trace.trainer.consistency, *first_batch(session, kind))
    check_equals_agree(session.network, trace.trainer.consistency, *first_batch(session, kind))


def test_lock_and_release_losses(run):
    check_losses(run[2], CONSISTENCY)


def test_i9_lock_takes_half_of_the_batches_rounded_down(run):
    check_lock_lengths(run[2])


def test_i10_order_and_rate(run):
    session, _, trace = run
    check_order(trace, list(session.recipe.datasets))
    assert {phase.task for phase in trace.phases} == set(session.recipe.tasks)
    # the first cycle runs at 1 / (number of tasks), constant
    rates = [rate for step in trace.steps for rate in step.rates]
    assert rates == pytest.approx([1 / len(session.recipe.tasks)] * len(trace.steps))


def test_i11_i21_gradients_and_their_norm(run):
    check_gradients(run[2], CLIP)
    check_optimiser(run[0].optimiser, run[0].network)


@pytest.mark.slow
def test_i12_killed_at_random_steps_and_resumed_equals_uninterrupted(run, tmp_path, monkeypatch):
    """The tiny recipes of tests/integration/test_resume.py are killed more often; this is the real network."""
    session, _, _ = run
    monkeypatch.setenv("FX_MONAI_CACHE", str(session.output_dir / "cache"))
    changes = {"recipe": "demo", **SMALL, "schedule.cycles": 1, "checkpoint.every_seconds": 0}
    cohort = session.output_dir / "cohort"
    whole = train(tmp_path / "whole", cohort, **changes)
    steps = sorted(random.sample(range(2, whole.schedule().total_steps + 1), 2))
    for number, step in enumerate(steps):
        train_and_kill(tmp_path / "part", cohort, step=step, resume=number > 0, **changes)
    assert_same(whole, train(tmp_path / "part", cohort, resume=True, **changes))


def test_i15_denoising_queries_are_no_predictions_and_no_features(run):
    check_denoising(run[0].network, *first_batch(run[0], Kind.LOCALIZATION))


def test_i18_every_head_has_the_classes_of_its_dataset(run):
    check_classes(run[0].network, run[0].experiment.manifests, torch.rand(1, 1, 64, 64))


def test_i19_images_without_boxes_have_a_loss_and_a_score(run):
    check_no_boxes(run[0].network, *first_batch(run[0], Kind.LOCALIZATION))


def test_untrained_losses_are_about_what_they_are_divided_by(run):
    session, fresh, _ = run
    fresh.train()
    for task, spec in fresh.specs.items():
        loader = session.experiment.loaders(session.experiment.records("train"))[task]
        batch = to_device(next(loader.batches(0, 1)), torch.device("cpu"))
        loss, _ = task_loss(spec, fresh.forward_task(batch["image"], task, batch=batch), batch)
        assert 0.5 < float(loss) / initial_loss(spec) < 2, f"{task}: {float(loss)}"


def test_unknown_labels():
    from fx_monai.losses.masked_bce import masked_bce

    check_unknown_labels(masked_bce)
