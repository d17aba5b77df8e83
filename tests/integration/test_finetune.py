"""Fine-tuning on the tiny data: heads first, probe, study that goes on, what they leave behind."""

import json

import numpy as np
import pytest
import torch
from ignite.engine import Events

from fx_monai.apps import few_shot
from fx_monai.apps.few_shot_cell import Cell, chosen_rows, stored_rows
from fx_monai.apps.finetune import Request, fine_tuned_recipe, run_finetune, run_study
from fx_monai.apps.training import TrainingSession
from fx_monai.data.subsets import Subset
from fx_monai.errors import ConfigError
from fx_monai.models.card import ModelCard
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network, write_weights
from fx_monai.recipe import load_recipe
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import coco_folder, csv_folder, tiny_recipe

TARGET = {"csv": {"root": "csv", "tasks": ["classification"]}}


@pytest.fixture
def target(tmp_path):
    """Return weights of another task, a recipe, and the data root."""
    csv_folder(tmp_path / "data" / "csv", count=20)
    changes = {"datasets": TARGET, "teacher.enabled": False, "schedule.cycles": 3, "schedule.lock_fraction": 0}
    recipe = tiny_recipe(tmp_path / "target.yaml", **changes)
    torch.manual_seed(0)
    network = FoundationX(load_recipe(str(recipe)).model, [TaskSpec(Task("old", Kind.CLASSIFICATION), ("x", "y"))])
    write_weights(network, ModelCard(note="trained on phantoms"), tmp_path / "old" / "model.pt")
    return {"weights": str(tmp_path / "old" / "model.pt"), "target": str(recipe), "data_root": str(tmp_path / "data")}


def trunk(path):
    return load_network(path).trunk.backbone.state_dict()


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_heads_first_then_everything(target, tmp_path):
    start = trunk(target["weights"])
    session = few_shot_session(target, tmp_path / "out")
    trainer, seen = session.trainer(), {}

    @trainer.on(Events.EPOCH_COMPLETED)
    def _(engine):
        seen[engine.state.epoch] = same(start, session.network.trunk.backbone.state_dict())

    trainer.run()
    assert seen == {1: True, 2: False, 3: False}
    assert load_network(session.weights_path).card.note == "trained on phantoms"


def few_shot_session(target, folder):
    recipe, values = fine_tuned_recipe(target["weights"], target["target"], "head-first", {})
    values = {**values, "tracking.enabled": False}
    return TrainingSession(recipe, data_root=target["data_root"], output_dir=folder, overrides=values)


def test_probe_moves_the_head_alone_and_is_evaluated_as_any_weights(target, tmp_path, capsys):
    run_finetune(Request(**target, folder=tmp_path / "probe", modes=("probe",)))
    network = load_network(tmp_path / "probe" / "model.pt")
    assert same(trunk(target["weights"]), network.trunk.backbone.state_dict())
    assert network.card.note == "trained on phantoms; linear probe on old"
    (row,) = [
        row
        for row in json.loads((tmp_path / "probe" / "results_test.json").read_text())["rows"]
        if row["metric"] == "auc_macro" and row["dataset"] == "csv"
    ]
    # bright against dark, which even random features tell apart
    assert row["value"] == 1.0
    assert "C = " in capsys.readouterr().out
    assert list((tmp_path / "probe" / "features").glob("*.npy"))


def test_study_keeps_finished_cells_and_writes_table_and_curve(target, tmp_path, monkeypatch):
    request = Request(**target, folder=tmp_path / "study", modes=("probe", "head-first"))
    options = {"beside": ["random"], "shots": [1], "fractions": [], "draws": 1}
    done = []
    compute = few_shot.Study._scores

    def count(study, cell, *rest):
        done.append(cell.stem)
        if len(done) == 4:
            raise KeyboardInterrupt
        return compute(study, cell, *rest)

    monkeypatch.setattr(few_shot.Study, "_scores", count)
    with pytest.raises(KeyboardInterrupt):
        run_study(request, **options)
    assert run_study(request, **options) == 0
    # the fourth was interrupted and is done again, nothing else is
    assert done == [*dict.fromkeys(done), done[-1]]
    assert len(done) == 5
    found = json.loads((tmp_path / "study" / "few_shot.json").read_text())["rows"]
    assert {row["start"] for row in found} == {"old", "random"}
    assert {row["training_patients"] for row in found if row["subset"] == "1 shots"} == {2}
    assert (tmp_path / "study" / "few_shot.png").stat().st_size
    assert not list((tmp_path / "study").rglob("checkpoint.pt"))
    with pytest.raises(ConfigError, match="the cell was computed with another recipe"):
        run_study(Request(**target, folder=tmp_path / "study", modes=("probe",), overrides={"seed": 1}), **options)


def test_training_images_of_a_cell_are_the_same_for_every_start(target, tmp_path):
    session = few_shot_session(target, tmp_path / "out")
    task = Task("csv", Kind.CLASSIFICATION)
    cells = [Cell(task, None, None, Subset(shots=2), draw) for draw in (0, 0, 1)]
    rows = [chosen_rows(session.experiment, cell, seed=0).tolist() for cell in cells]
    assert rows[0] == rows[1] != rows[2]
    assert np.isin(rows, session.experiment.rows(task, "train")).all()


@pytest.mark.parametrize("content", ["", "[]", '{"identity": "x"}', '{"identity": "other", "rows": []}'])
def test_cells_that_are_damaged_or_of_another_study_are_refused(content, tmp_path):
    (tmp_path / "cell.json").write_text(content)
    with pytest.raises(ConfigError, match="or is damaged"):
        stored_rows(tmp_path / "cell.json", "x")


def test_probe_has_no_trainer_in_the_bundle():
    with pytest.raises(ConfigError, match="a linear probe has no trainer"):
        fine_tuned_recipe("random", "montgomery/classification", "probe", {})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["localization", "segmentation"])
def test_boxes_and_masks_are_fine_tuned_and_studied_too(kind, target, tmp_path):
    coco_folder(tmp_path / "data" / "coco")
    datasets = {"coco": {"root": "coco", "tasks": [kind]}}
    changes = {"datasets": datasets, "teacher.enabled": False, "schedule.cycles": 2, "schedule.lock_fraction": 0}
    recipe = str(tiny_recipe(tmp_path / "boxes.yaml", **changes))
    request = Request(target["weights"], recipe, target["data_root"], tmp_path / "out")
    run_finetune(request)
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert {row["kind"] for row in rows} == {kind}
    assert load_network(tmp_path / "out" / "model.pt").specs.keys() == {Task("coco", Kind(kind))}
    study = Request(target["weights"], recipe, target["data_root"], tmp_path / "study", modes=("head",))
    assert run_study(study, beside=[], shots=[2], fractions=[], draws=1) == 0
    found = json.loads((tmp_path / "study" / "few_shot.json").read_text())["rows"]
    assert {row["training_images"] for row in found} == {2}
