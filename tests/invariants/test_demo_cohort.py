"""I1 to I11 and I21 over a cycle of the demo recipe: five datasets, the real network, every phase."""

import copy
import math

import pytest
import torch

from fx_monai.apps.training import TrainingSession
from fx_monai.data.dataset import to_device
from fx_monai.demo.cohort import write_demo_cohort
from fx_monai.engine.learning_rate import LearningRate, by_cycle
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.task_loss import initial_loss, task_loss
from fx_monai.types import Kind, Mode
from tests.invariants.checks import (
    Trace,
    check_gradients,
    check_lock_release,
    check_losses,
    check_teacher,
    check_unknown_labels,
)

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
def test_i7_consistency_pulls_the_student_and_not_the_teacher(run, kind):
    session, _, trace = run
    task, batch = first_batch(session, kind)
    session.network.requires_grad_(True)
    session.network.zero_grad()
    features = session.network.forward_task(batch["image"], task, batch=batch).features
    trace.trainer.consistency.loss(features, batch["teacher_image"], kind, counted=True).backward()
    pulled = {
        n
        for n, m in session.network.trunk.named_children()
        if any(p.grad is not None and p.grad.any() for p in m.parameters())
    }
    shared = {Kind.LOCALIZATION: {"loc_encoder"}, Kind.SEGMENTATION: {"seg_decoder"}}.get(kind, set())
    assert pulled == {"backbone"} | shared
    assert all(p.grad is None for p in session.teacher.trunk.parameters())


@pytest.mark.parametrize("kind", list(Kind))
def test_i8_equal_networks_and_views_have_no_consistency_loss(run, kind):
    session, _, _ = run
    task, batch = first_batch(session, kind)
    network = session.network.with_trunk(session.teacher.trunk).eval()
    features = network.forward_task(batch["image"], task).features
    target = session.teacher.features(batch["image"], kind)
    assert all(torch.equal(features[name], value) for name, value in target.items())


def test_lock_and_release_losses(run):
    check_losses(run[2], CONSISTENCY)


def test_i9_lock_takes_half_of_the_batches_rounded_down(run):
    steps = {}
    for phase in run[2].phases:
        steps.setdefault(phase.task, {})[phase.mode] = phase.steps
    for task, modes in steps.items():
        lock = math.floor(0.5 * modes[Mode.RELEASE]) if task.kind is not Kind.CLASSIFICATION else 0
        assert modes.get(Mode.LOCK, 0) == lock, task


def test_i10_order_and_rate(run):
    session, _, trace = run
    order = list(dict.fromkeys(phase.task for phase in trace.phases))
    assert order == list(session.recipe.tasks)
    # the first cycle runs at 1 / (number of tasks), constant
    assert [rate for step in trace.steps for rate in step.rates] == pytest.approx([1 / len(order)] * len(trace.steps))


def test_i11_i21_gradients_and_their_norm(run):
    check_gradients(run[2], CLIP)
    session = run[0]
    held = [id(p) for group in session.optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in session.network.parameters())
    assert all(group["params"] for group in session.optimiser.param_groups)


def test_i15_denoising_queries_are_no_predictions_and_no_features(run):
    session, _, _ = run
    task, batch = first_batch(session, Kind.LOCALIZATION)
    session.network.train()
    trained = session.network.forward_task(batch["image"], task, batch=batch)
    assert "denoising_target" in trained.predictions
    assert trained.predictions["logits"].shape[2] == 40
    session.network.eval()
    evaluated = session.network.forward_task(batch["image"], task)
    assert {n: f.shape for n, f in trained.features.items()} == {n: f.shape for n, f in evaluated.features.items()}
    assert session.network.predict_tasks(batch["image"], [task])[task]["logits"].shape[1] == 40


def test_i18_every_head_has_the_classes_of_its_dataset(run):
    session, _, _ = run
    for task, spec in session.experiment.specs.items():
        kind = {Kind.CLASSIFICATION: "labels", Kind.LOCALIZATION: "boxes", Kind.SEGMENTATION: "masks"}[task.kind]
        assert set(spec.classes) <= set(getattr(session.experiment.manifests[task.dataset].classes, kind))
    image = torch.rand(1, 1, 64, 64)
    for task, output in session.network.predict_tasks(image).items():
        axis = 1 if task.kind is Kind.SEGMENTATION else -1
        assert output["logits"].shape[axis] == len(session.network.specs[task].classes), task


def test_i19_a_batch_without_boxes_has_a_loss_and_gradients(run):
    session, _, _ = run
    task, batch = first_batch(session, Kind.LOCALIZATION)
    empty = {**batch, "boxes": [b[:0] for b in batch["boxes"]], "box_labels": [b[:0] for b in batch["box_labels"]]}
    session.network.train()
    output = session.network.forward_task(batch["image"], task, batch=empty)
    loss, _ = task_loss(session.network.specs[task], output, empty)
    assert torch.isfinite(loss)
    assert loss > 0


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
