"""Invariants I1 to I8: what a phase moves, what it leaves bit-identical, what the teacher does."""

import copy

import pytest
import torch

from fx_monai.apps.from_recipe import note_slow_teacher
from fx_monai.data.annotations import annotated_rows
from fx_monai.data.dataset import TaskDataset
from fx_monai.data.loader import TaskLoader
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.optim import build_optimiser
from fx_monai.engine.schedule import Schedule, build_schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.consistency import consistency_loss
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.types import Kind, Mode, Phase, Task, TaskSpec
from tests.builders import tiny_manifest

KINDS = list(Kind)
TASKS = {kind: Task("tiny", kind) for kind in Kind}
SPECS = [TaskSpec(Task(d, kind), ("square",)) for d in ("tiny", "other") for kind in Kind]
CONFIG = ModelConfig(
    # statistics on, so that a locked BatchNorm that still learns would show
    backbone=BackboneConfig(pretrained="none", train_norm_statistics=True),
    localization=LocalizationConfig(num_queries=10, width=32, heads=4, feedforward=32),
    segmentation=SegmentationConfig(width=16),
    image_size=64,
)


@pytest.fixture
def loaders(tmp_path):
    manifest = tiny_manifest(tmp_path)
    store = ImageStore.open_or_build(manifest, size=64, folder=tmp_path / "store")
    made = {}
    for spec in SPECS[:3]:
        rows = annotated_rows(manifest, spec)
        dataset = TaskDataset(manifest, store, spec, rows, augmentation=Augmentation(), seed=0)
        made[spec.task] = TaskLoader(dataset, batch_size=4, seed=0)
    return made


def make_trainer(loaders, phases, cycles=1, **options):
    torch.manual_seed(0)
    network = options.pop("network", None) or FoundationX(CONFIG, SPECS)
    rates = {"backbone": 1e-3, "trunk": 1e-3, "heads": 1e-3, "weight_decay": 0.1}
    optimiser = build_optimiser(network.module_groups(), **rates)
    teacher = EMATeacher(network.trunk, ema_momentum=options.pop("ema_momentum", 0.8))
    return CyclicTrainer(
        device="cpu",
        max_epochs=cycles,
        network=network,
        optimiser=optimiser,
        schedule=Schedule(tuple(phases), cycles),
        loaders=loaders,
        teacher=teacher,
        **options,
    )


def snapshot(network):
    return {
        name: {key: value.clone() for key, value in module.state_dict().items()}
        for name, module in network.module_groups().items()
    }


def moved(before, after):
    return {n for n in before if any(not torch.equal(before[n][key], after[n][key]) for key in before[n])}


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("kind", KINDS)
def test_phase_moves_exactly_its_groups(loaders, kind, mode):
    # a RELEASE phase first, so that the optimiser holds momentum for everything
    trainer = make_trainer(
        loaders, [Phase.of(TASKS[k], Mode.RELEASE, 1) for k in KINDS] + [Phase.of(TASKS[kind], mode, 2)]
    )
    seen = {}

    @trainer.on(ScheduleEvents.PHASE_STARTED)
    def _():
        seen["before"] = snapshot(trainer.network)

    trainer.run()
    assert moved(seen["before"], snapshot(trainer.network)) == set(
        groups_of(TASKS[kind], mode, trainer.network.module_groups())
    )


def test_every_declared_group_and_no_other_is_released():
    network = FoundationX(CONFIG, SPECS)
    handler = LockRelease(network.module_groups())
    handler.apply(groups_of(TASKS[Kind.LOCALIZATION], Mode.LOCK, handler.groups))
    released = {n for n, m in network.module_groups().items() if any(p.requires_grad for p in m.parameters())}
    assert released == {"loc_decoder.tiny", "loc_head.tiny"}
    assert not network.trunk.backbone.training
    assert network.heads["loc_head"]["tiny"].training
    with pytest.raises(KeyError, match=r"loc_head\.nobody"):
        handler.apply(["loc_head.nobody"])


def test_events_and_teacher_updates_are_one_per_phase(loaders):
    schedule = build_schedule(dict.fromkeys(loaders, 3), cycles=2)
    trainer = make_trainer(loaders, schedule.phases, cycles=2)
    events = []
    trainer.add_event_handler(ScheduleEvents.PHASE_STARTED, lambda e: events.append(("start", e.state.iteration)))
    trainer.add_event_handler(ScheduleEvents.PHASE_COMPLETED, lambda e: events.append(("end", e.state.iteration)))
    trainer.run()
    # C 3 | L lock 1, release 3 | S lock 1, release 3, twice
    starts = [1, 4, 5, 8, 9, 12, 15, 16, 19, 20]
    ends = [3, 4, 7, 8, 11, 14, 15, 18, 19, 22]
    assert events == [pair for s, e in zip(starts, ends, strict=True) for pair in (("start", s), ("end", e))]
    assert trainer.teacher.initial_weight == pytest.approx(0.8**10)


def test_lock_runs_no_teacher_and_has_task_weight_one(loaders):
    trainer = make_trainer(loaders, [Phase.of(TASKS[Kind.SEGMENTATION], Mode.LOCK, 1)])
    trainer.run()
    output = trainer.state.output[0]
    assert "consistency_loss" not in output
    assert torch.equal(output["loss"], output["task_loss"])


def test_release_mixes_the_losses_by_the_given_weight(loaders):
    trainer = make_trainer(loaders, [Phase.of(TASKS[Kind.SEGMENTATION], Mode.RELEASE, 1)], consistency=0.3)
    trainer.run()
    out = trainer.state.output[0]
    torch.testing.assert_close(out["loss"], 0.7 * out["task_loss"] + 0.3 * out["consistency_loss"])


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, "student"), (1.0, "start")])
def test_teacher_at_the_ends_of_momentum(momentum, expected):
    network = FoundationX(CONFIG, SPECS)
    teacher = EMATeacher(network.trunk, ema_momentum=momentum)
    start = copy.deepcopy(network.trunk.state_dict())
    for value in network.trunk.state_dict().values():
        value.add_(1)
    teacher.update()
    want = network.trunk.state_dict() if expected == "student" else start
    for name, value in teacher.trunk.state_dict().items():
        if value.is_floating_point() or momentum == 0:
            assert torch.equal(value, want[name]), name


def test_what_a_short_run_leaves_of_the_first_teacher():
    network = FoundationX(CONFIG, SPECS[:1])
    teacher = EMATeacher(network.trunk, ema_momentum=0.9, total_updates=3)
    assert teacher.final_weight() == pytest.approx(0.9**3)
    notes = []
    note_slow_teacher(teacher, notes.append)
    assert notes[0].startswith("note: after 3 updates the teacher still is 73% the network it starts from")
    for _ in range(3):
        teacher.update()
    assert teacher.initial_weight == pytest.approx(teacher.final_weight())
    teacher.total_updates = 100
    note_slow_teacher(teacher, notes.append)
    assert len(notes) == 1


def test_teacher_is_the_weighted_mean_with_buffers():
    network = FoundationX(CONFIG, SPECS)
    teacher = EMATeacher(network.trunk, ema_momentum=0.75)
    key = next(k for k in network.trunk.state_dict() if k.endswith("running_mean"))
    network.trunk.state_dict()[key].add_(4)
    teacher.update()
    difference = teacher.trunk.state_dict()[key] - (network.trunk.state_dict()[key] - 4)
    torch.testing.assert_close(difference, torch.ones_like(difference))
    assert not any(p.requires_grad for p in teacher.trunk.parameters())
    assert not teacher.trunk.training


@pytest.mark.parametrize("kind", KINDS)
def test_consistency_pulls_the_student_and_not_the_teacher(kind):
    network = FoundationX(CONFIG, SPECS)
    network.trunk.eval()
    teacher = EMATeacher(network.trunk)
    image = torch.rand(2, 1, 64, 64)
    same = consistency_loss(network.trunk.features(image, kind), teacher.trunk.features(image, kind))
    assert float(same) < 1e-10
    with torch.no_grad():
        for parameter in teacher.trunk.parameters():
            parameter.mul_(1.1).add_(0.01)
    student = network.forward_task(image, TASKS[kind]).features
    consistency_loss(student, teacher.trunk.features(image, kind)).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.trunk.backbone.parameters())
    assert all(p.grad is None for p in teacher.trunk.parameters())


def test_optimiser_holds_every_parameter_once():
    network = FoundationX(CONFIG, SPECS)
    optimiser = build_optimiser(network.module_groups(), backbone=1, trunk=2, heads=3, weight_decay=0.1)
    held = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    assert (rates["backbone"], rates["seg_decoder"], rates["cls_head.tiny"]) == (1, 2, 3)
    assert all(p.ndim > 1 for g in optimiser.param_groups if g["weight_decay"] for p in g["params"])
