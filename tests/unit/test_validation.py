"""When to validate, what is the best so far, when to stop; losses that aren't finite; values that change; precision."""

import math
from types import SimpleNamespace

import pytest
import torch

from fx_monai.engine.ema_teacher import EMATeacher
from fx_monai.engine.finite_loss import FiniteLoss
from fx_monai.engine.history import History
from fx_monai.engine.precision import Precision, usable_precision
from fx_monai.engine.ramp import Ramp
from fx_monai.engine.schedule import build_schedule
from fx_monai.engine.validation import Validation
from fx_monai.engine.walker import Step, TaskBatch
from fx_monai.errors import FxError
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Mode, Phase, Task
from tests.unit.test_lock_release import CONFIG, SPECS, TASKS, loaders, make_trainer  # noqa: F401 (a fixture)


class Engine(SimpleNamespace):
    def terminate(self):
        self.ended = True


def validate(means, **options):
    """Return a validation after one cycle per mean (None: broken off), and what it kept."""
    kept = []
    answers = iter(means)

    def evaluate(cycle):
        mean = next(answers)
        row = {"dataset": "d", "kind": "localization", "model": "teacher", "metric": "ap40", "value": mean}
        return None if mean is None else ([row], {} if math.isnan(mean) else {"teacher": mean})

    made = Validation(
        evaluate,
        lambda *found: kept.append(found),
        every_cycles=1,
        history=History(),
        keep_task=lambda *found: kept.append(found),
        **options,
    )
    engine = Engine(ended=False, state=SimpleNamespace(epoch=0, max_epochs=len(means), iteration=0))
    while engine.state.epoch < len(means) and not engine.ended:
        engine.state.epoch += 1
        made._note_due(engine)
        made(engine)
    return made, kept, engine


def test_best_mean_and_best_task_are_kept():
    made, kept, _ = validate([0.5, 0.4, 0.6])
    assert made.best == {"model": "teacher", "cycle": 3, "mean": 0.6}
    assert made.best_per_task == {"d/localization": {"model": "teacher", "cycle": 3, "value": 0.6}}
    both = [(("teacher", c, m), ("teacher", c, "d/localization", m)) for c, m in ((1, 0.5), (3, 0.6))]
    assert kept == [found for pair in both for found in pair]


def test_patience_ends_the_run():
    made, _, engine = validate([0.5, 0.4, 0.45, 0.9], patience=2)
    assert engine.ended
    assert engine.state.epoch == 3
    again = Validation(lambda _: None, lambda *_: None, every_cycles=1, history=History(), patience=2)
    again.load_state_dict(made.state_dict())
    assert again.exhausted


def test_evaluation_that_was_broken_off_stays_due():
    made, kept, engine = validate([None])
    assert not kept
    again = Validation(
        lambda _: ([], {"student": 0.7}), lambda *found: kept.append(found), every_cycles=1, history=History()
    )
    again.load_state_dict(made.state_dict())
    again.catch_up(engine)
    again.catch_up(engine)
    assert kept == [("student", 1, 0.7)]


def test_without_a_defined_score_the_final_student_is_kept():
    assert validate([math.nan, math.nan])[1] == [("student", 2, None)]


def test_losses_are_looked_at_together_and_the_batch_is_named():
    task = Task("d", Kind.CLASSIFICATION)
    schedule = build_schedule({task: 9}, cycles=1)
    finite = FiniteLoss(every=3)

    def add(number, value, rows):
        task_batch = TaskBatch(task, {"row": torch.tensor(rows)})
        finite.add(Step(schedule.position(number), (task_batch,)), task_batch, torch.tensor(value))

    add(0, 1.0, [4, 9])
    add(1, math.nan, [8, 9])
    with pytest.raises(FxError, match=r"d/classification, release, step 2: the loss is nan, manifest rows \[8, 9\]"):
        add(2, 2.0, [1, 2])
    finite.check()


def test_ramp():
    assert Ramp(0.9, 1.0).at(0) == pytest.approx(0.9)
    assert Ramp(0.9, 1.0).at(0.5) == pytest.approx(0.95)
    assert Ramp(0.0, 0.5).at(1) == pytest.approx(0.5)
    assert Ramp(0.8, 0.8).at(0.3) == 0.8


def test_teacher_whose_momentum_grows_notes_the_initial_weight():
    teacher = EMATeacher(FoundationX(CONFIG, SPECS).trunk, ema_momentum=Ramp(0.9, 1.0), total_updates=4)
    for _ in range(4):
        teacher.update()
    momenta = [1 - 0.05 * (1 + math.cos(math.pi * n / 4)) for n in range(4)]
    assert teacher.initial_weight == pytest.approx(math.prod(momenta))
    state = teacher.state_dict()
    again = EMATeacher(FoundationX(CONFIG, SPECS).trunk, ema_momentum=Ramp(0.9, 1.0), total_updates=4)
    again.load_state_dict(state)
    assert (again.updates, again.initial_weight) == (4, teacher.initial_weight)


def test_teacher_of_some_parts_leaves_the_others_to_the_student():
    student = FoundationX(CONFIG, SPECS).trunk
    teacher = EMATeacher(student, parts=("backbone",))
    assert teacher.trunk.loc_encoder is student.loc_encoder
    assert teacher.trunk.backbone is not student.backbone
    assert set(teacher.features(torch.rand(1, 1, 64, 64), Kind.LOCALIZATION)) == {"backbone"}
    assert student.training
    assert all(p.requires_grad for p in student.parameters())
    with pytest.raises(ValueError, match="needs the backbone"):
        EMATeacher(student, parts=("loc_encoder",))


def test_bfloat16_steps_stay_near_float32(loaders):  # noqa: F811
    outputs = []
    for precision in ("float32", "bfloat16"):
        phases = [Phase.of(TASKS[kind], Mode.RELEASE, 1) for kind in Kind]
        trainer = make_trainer(loaders, phases, precision=precision)
        trainer.run()
        outputs.append(float(trainer.state.output[0]["loss"]))
        assert all(p.dtype is torch.float32 for p in trainer.network.parameters())
    assert outputs[1] == pytest.approx(outputs[0], rel=0.1)


def test_precision_falls_back_where_it_would_be_imitated(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr("fx_monai.engine.precision.native_bfloat16", lambda: False)
    assert [usable_precision(name, cpu) for name in ("bfloat16", "float16")] == ["float32", "float32"]
    assert [usable_precision(name, gpu) for name in ("bfloat16", "float16")] == ["bfloat16", "float16"]
    monkeypatch.setattr("fx_monai.engine.precision.native_bfloat16", lambda: True)
    assert usable_precision("bfloat16", cpu) == "bfloat16"
    assert Precision("float16", cpu).scaler.is_enabled()
    assert not Precision("float32", cpu).scaler.is_enabled()
