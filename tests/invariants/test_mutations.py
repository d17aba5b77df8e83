"""Every mechanism of the engine is broken on purpose, and the check of its invariant notices."""

import signal

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Events

from fx_monai.engine import lock_release, schedule, trainer
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.learning_rate import by_cycle, by_step
from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.optim import build_optimiser
from fx_monai.engine.phase_audit import LockBrokenError, PhaseAudit
from fx_monai.engine.schedule import build_schedule
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.masked_bce import masked_bce
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.types import Kind, Mode, Phase, Task
from tests.builders import tiny_data_root
from tests.invariants.checks import (
    Trace,
    check_gradients,
    check_lock_lengths,
    check_lock_release,
    check_losses,
    check_optimiser,
    check_order,
    check_published_rates,
    check_teacher,
    check_unknown_labels,
)
from tests.runs import assert_same, train
from tests.unit.test_lock_release import CONFIG, SPECS, TASKS, loaders, make_trainer  # noqa: F401 (a fixture)

CLIP = 1e9


@pytest.fixture
def traced(loaders):  # noqa: F811
    """Return a function that runs segmentation in RELEASE and LOCK, so that the optimiser holds momentum in LOCK."""

    def run(*handlers, phases=None):
        phases = phases or [Phase.of(TASKS[Kind.SEGMENTATION], mode, 1) for mode in (Mode.RELEASE, Mode.LOCK)]
        trainer = make_trainer(loaders, phases, ema_momentum=0.8, clip_norm=CLIP, train_handlers=handlers)
        trace = Trace(trainer, ema_momentum=0.8)
        trainer.run()
        return trace

    return run


def check_all(trace):
    check_lock_release(trace)
    check_teacher(trace)
    check_gradients(trace, CLIP)
    check_losses(trace, 0.5)


def test_unbroken_run_passes(traced):
    check_all(traced())


def test_wrong_ema_weight(traced, monkeypatch):
    lerp = torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda old, new, weight: lerp(old, new, 1.1 * weight))
    with pytest.raises(AssertionError):
        check_teacher(traced())


def test_teacher_without_buffers(traced, monkeypatch):
    real = EMATeacher._collect

    def parameters_only(self):
        old, new, *integers = real(self)
        held = {p.data_ptr() for p in self.trunk.parameters()}
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if a.data_ptr() in held]
        self._pairs = ([a for a, _ in pairs], [b for _, b in pairs], *integers)
        return self._pairs

    monkeypatch.setattr(EMATeacher, "_collect", parameters_only)
    with pytest.raises(AssertionError):
        check_teacher(traced())


def test_teacher_that_takes_gradients(traced, monkeypatch):
    update = EMATeacher.update

    def trainable(self):
        update(self)
        self.trunk.requires_grad_(True)

    monkeypatch.setattr(EMATeacher, "update", trainable)
    with pytest.raises(AssertionError):
        check_teacher(traced())


def backbone_in_every_lock(task, mode, declared):
    return tuple(dict.fromkeys(("backbone", *groups_of(task, mode, declared))))


def test_wrong_lock_set(traced, monkeypatch):
    monkeypatch.setattr(lock_release, "groups_of", backbone_in_every_lock)
    with pytest.raises(AssertionError):
        check_lock_release(traced())


@pytest.fixture
def all_in_train_mode(monkeypatch):
    """Let BatchNorm and dropout of locked groups go on as in training."""
    apply = LockRelease.apply

    def broken(self, trainable):
        apply(self, trainable)
        for module in self.groups.values():
            module.train()

    monkeypatch.setattr(LockRelease, "apply", broken)


def test_locked_batchnorm_that_goes_on_learning(traced, all_in_train_mode):
    with pytest.raises(AssertionError):
        check_lock_release(traced())


def test_the_audit_notices_it_in_the_run_itself(loaders, all_in_train_mode):  # noqa: F811
    trainer = make_trainer(loaders, [Phase.of(TASKS[Kind.SEGMENTATION], Mode.LOCK, 1)])
    PhaseAudit(trainer.network.module_groups()).attach(trainer)
    with pytest.raises(LockBrokenError, match=r"segmentation LOCK moved backbone, which it had locked"):
        trainer.run()


def test_gradients_that_stay(traced, monkeypatch):
    apply = LockRelease.apply

    def keep_gradients(self, trainable):
        gradients = [(p, p.grad) for m in self.groups.values() for p in m.parameters()]
        apply(self, trainable)
        for parameter, gradient in gradients:
            parameter.grad = gradient

    monkeypatch.setattr(LockRelease, "apply", keep_gradients)
    monkeypatch.setattr(torch.optim.AdamW, "zero_grad", lambda self, set_to_none=True: None)
    trace = traced()
    with pytest.raises(AssertionError):
        check_gradients(trace, CLIP)
    with pytest.raises(AssertionError):
        check_lock_release(trace)


def test_norm_of_other_parameters(traced, monkeypatch):
    clip = trainer.clip_active
    monkeypatch.setattr(trainer, "clip_active", lambda parameters, norm: clip(parameters[:10], norm))
    with pytest.raises(AssertionError):
        check_gradients(traced(), CLIP)


def test_optimiser_without_a_group_and_with_an_empty_one():
    network = FoundationX(CONFIG, SPECS)
    rates = {"backbone": 1.0, "trunk": 1.0, "heads": 1.0, "weight_decay": 0.0}
    groups = network.module_groups()
    whole = build_optimiser(groups, **rates)
    check_optimiser(whole, network)
    without = build_optimiser({name: m for name, m in groups.items() if name != "cls_head.other"}, **rates)
    whole.add_param_group({"params": []})
    for broken in (without, whole):
        with pytest.raises(AssertionError):
            check_optimiser(broken, network)


def small_schedule():
    return build_schedule(dict(zip(TASKS.values(), (1, 2, 1), strict=True)), cycles=1)


def test_lengths_and_order_of_an_unbroken_schedule(traced):
    """Localization has a LOCK phase of 1 batch; segmentation one of floor(0.5) = 0, which is skipped."""
    trace = traced(phases=small_schedule().phases)
    check_lock_lengths(trace)
    check_order(trace, ["tiny"])
    assert [phase.steps for phase in trace.phases] == [1, 1, 2, 1]


def test_lock_that_is_rounded_up(traced, monkeypatch):
    monkeypatch.setattr(schedule.math, "floor", schedule.math.ceil)
    with pytest.raises(AssertionError):
        check_lock_lengths(traced(phases=small_schedule().phases))


def test_release_before_lock_and_tasks_by_the_alphabet(traced):
    phases = small_schedule().phases
    for broken in (phases[::-1], (phases[3], *phases[:3])):
        with pytest.raises(AssertionError):
            check_order(traced(phases=broken), ["tiny"])


def test_rates_that_change_inside_a_cycle_or_warm_up_for_its_steps():
    twenty = build_schedule({Task(f"d{n}", Kind.CLASSIFICATION): 2 for n in range(20)}, cycles=4)
    published = by_cycle(twenty, final_fraction=0.0)
    check_published_rates(published, twenty)
    # the defect of Foundation X+: warm-up that waits for a task which the cycle lacks
    for broken in (by_step(twenty, warmup_steps=20, final_fraction=0.0), lambda step, position: 1.0):
        with pytest.raises(AssertionError):
            check_published_rates(broken, twenty)


def test_unknown_labels_as_negatives():
    def negative(logits, labels):
        return F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0))

    check_unknown_labels(masked_bce)
    with pytest.raises(AssertionError):
        check_unknown_labels(negative)


def test_wrong_resume_position(tmp_path, monkeypatch):
    data = tiny_data_root(tmp_path / "data")
    changes = {"datasets": {"csv": {"root": "csv", "tasks": ["classification"]}}, "schedule.cycles": 2}
    whole = train(tmp_path / "whole", data, **changes)
    train(tmp_path / "part", data, before=lambda trainer: stop_at(trainer, 3), **changes)
    start_at = CyclicTrainer.start_at
    monkeypatch.setattr(CyclicTrainer, "start_at", lambda self, step: start_at(self, step - 1))
    with pytest.raises(AssertionError):
        assert_same(whole, train(tmp_path / "part", data, resume=True, **changes))


def stop_at(trainer, step):
    trainer.add_event_handler(Events.ITERATION_STARTED(once=step), lambda: signal.raise_signal(signal.SIGTERM))
