"""Every mechanism is broken on purpose, and the check of its invariant notices."""

import signal

import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Events

from fx_monai.engine import lock_release
from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.lock_release import LockRelease
from fx_monai.engine.phase_audit import LockBrokenError, PhaseAudit
from fx_monai.engine.trainer import CyclicTrainer
from fx_monai.losses.masked_bce import masked_bce
from fx_monai.models.foundation_x import groups_of
from fx_monai.types import Kind, Mode, Phase
from tests.builders import tiny_data_root
from tests.invariants.checks import (
    Trace,
    check_gradients,
    check_lock_release,
    check_losses,
    check_teacher,
    check_unknown_labels,
)
from tests.runs import assert_same, train
from tests.unit.test_lock_release import TASKS, loaders, make_trainer  # noqa: F401 (a fixture)

CLIP = 1e9


@pytest.fixture
def traced(loaders):  # noqa: F811
    """Return a function that runs segmentation in RELEASE and LOCK, so that the optimiser holds momentum in LOCK."""

    def run(*handlers):
        phases = [Phase.of(TASKS[Kind.SEGMENTATION], mode, 1) for mode in (Mode.RELEASE, Mode.LOCK)]
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
