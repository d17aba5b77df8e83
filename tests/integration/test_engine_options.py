"""Recipes of other kinds from start to end: no teacher, Ark, best weights per task, audit, continual, compiled."""

import pytest
import torch
from ignite.engine import Events

from fx_monai.engine.events import ScheduleEvents
from fx_monai.models.weights import load_network
from tests.builders import tiny_data_root
from tests.runs import make_session, train

CSV = {"csv": {"root": "csv", "tasks": ["classification"]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_data_root(tmp_path_factory.mktemp("data") / "data")


def test_without_a_teacher(tmp_path, data):
    changes = {"teacher.enabled": False, "checkpoint.best_per_task": True, "schedule.audit": True, "schedule.cycles": 1}
    session = train(tmp_path / "out", data, **changes)
    session.finish()
    assert {row["model"] for row in session.history.scores} == {"student"}
    assert all("consistency_loss" not in row for row in session.history.phases)
    best = sorted(path.name for path in (tmp_path / "out" / "best").iterdir())
    assert set(best) <= {"coco_localization.pt", "coco_segmentation.pt", "csv_classification.pt"}
    card = load_network(tmp_path / "out" / "best" / "coco_segmentation.pt").card
    assert (card.model, card.note) == ("student", "chosen for coco/segmentation")
    text = (tmp_path / "out" / "results.md").read_text()
    assert "selected" in text
    assert "nan" not in text


def test_ark(tmp_path, data):
    ark = {
        "datasets": CSV,
        "teacher.ema_momentum": 0.9,
        "teacher.ema_momentum_end": 1.0,
        "teacher.update": "task",
        "teacher.consistency": 0.0,
        "teacher.consistency_end": 0.5,
    }
    weights = []

    def note(trainer):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: weights.append(e.consistency.weight))

    session = train(tmp_path / "out", data, before=note, **ark)
    # two cycles of two steps: c = 0 in the first, half-way along the cosine in the second
    assert weights == pytest.approx([0.0, 0.0, 0.25, 0.25])
    assert session.teacher.initial_weight == pytest.approx(0.9 * 0.95)
    # noted at the end of a phase, before the update at the end of the task
    assert [row["teacher_initial_weight"] for row in session.history.phases] == pytest.approx([1.0, 0.9])


def test_early_stop_is_final(tmp_path, data):
    changes = {"datasets": CSV, "schedule.cycles": 9, "evaluation.patience": 1}
    stopped = train(tmp_path / "out", data, **changes)
    last = stopped.history.scores[-1]["cycle"]
    # two validation images: the AUC can't rise often
    assert last < 9
    resumed = train(tmp_path / "out", data, resume=True, **changes)
    assert resumed.history.scores[-1]["cycle"] == last
    assert len(resumed.history.phases) == last


def test_a_task_is_added_to_trained_weights(tmp_path, data):
    old = train(tmp_path / "old", data, **{"datasets": CSV, "schedule.cycles": 1})
    new = make_session(tmp_path / "new", data, init_from=str(tmp_path / "old" / "checkpoint.pt"))
    before, after = old.network.state_dict(), new.network.state_dict()
    assert before.keys() < after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name != "_extra_state")
    shared = {name for name in before if name.startswith("trunk.backbone")}
    assert all(torch.equal(new.teacher.trunk.state_dict()[n.removeprefix("trunk.")], before[n]) for n in shared)


def test_an_old_head_stays_bit_identical_until_its_own_phase(tmp_path, data):
    """The new dataset's four phases come first, and the backbone moves in them; then the old task is trained again."""
    old = train(tmp_path / "old", data, **{"datasets": CSV, "schedule.cycles": 1})
    wanted = {name: value.clone() for name, value in old.network.state_dict().items() if name.startswith("heads.")}
    seen = []

    def same(trainer):
        state = trainer.network.state_dict()
        seen.append((str(trainer.state.batch.position.phase), all(torch.equal(state[n], v) for n, v in wanted.items())))

    def watch(trainer):
        trainer.add_event_handler(ScheduleEvents.PHASE_COMPLETED, same)

    changes = {"init_from": str(tmp_path / "old" / "model.pt"), "schedule.cycles": 1, "schedule.audit": True}
    new = train(tmp_path / "new", data, before=watch, **changes)
    assert wanted
    assert [equal for _, equal in seen] == [True] * 4 + [False]
    assert seen[-1][0] == "csv/classification RELEASE"
    assert new.network.state_dict().keys() > old.network.state_dict().keys()


@pytest.mark.slow
def test_compiled_trunk_keeps_names_and_values(tmp_path, data, monkeypatch):
    # without a C++ compiler: the graph is traced, and run as it is
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_module(self, backend="eager"))
    changes = {"datasets": CSV, "schedule.cycles": 1}
    plain = train(tmp_path / "a", data, **changes)
    compiled = train(tmp_path / "b", data, **changes, **{"compute.compile": True})
    assert plain.network.state_dict().keys() == compiled.network.state_dict().keys()
    for name, value in plain.network.named_parameters():
        torch.testing.assert_close(compiled.network.get_parameter(name), value, rtol=1e-4, atol=1e-5)
