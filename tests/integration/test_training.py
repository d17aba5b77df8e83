"""The chain on a tiny recipe: same seed, stop and resume, results, prediction."""

import csv
import json
import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from PIL import Image

import fx_monai
from fx_monai.apps.prediction import predict_files
from fx_monai.apps.training import TrainingSession
from fx_monai.cli import main
from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.inference.pipeline import Options
from fx_monai.models.weights import load_network
from tests.builders import tiny_data_root, tiny_recipe

pytestmark = pytest.mark.usefixtures("mlflow_database")


@pytest.fixture
def data(tmp_path):
    return tiny_data_root(tmp_path / "data")


def session(tmp_path, data, name, **options):
    recipe = str(tiny_recipe(tmp_path / "recipe.yaml"))
    return TrainingSession(recipe, data_root=data, output_dir=tmp_path / name, **options)


def run(made, stop_at=None, losses=None):
    trainer = made.trainer()
    if losses is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(float(e.state.output[0]["loss"])))
    if stop_at is not None:
        trainer.add_event_handler(Events.ITERATION_STARTED(once=stop_at), lambda: signal.raise_signal(signal.SIGTERM))
    trainer.run()
    return trainer


def weights(made):
    return {**made.network.state_dict(), **{f"teacher.{k}": v for k, v in made.teacher.trunk.state_dict().items()}}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_same_seed_same_losses_and_weights(tmp_path, data):
    first, second = [], []
    a, b = session(tmp_path, data, "a"), session(tmp_path, data, "b")
    run(a, losses=first)
    run(b, losses=second)
    assert first == second
    assert len(set(first)) > 5
    assert_equal(weights(a), weights(b))


def test_stopped_and_resumed_equals_uninterrupted(tmp_path, data):
    whole = session(tmp_path, data, "whole")
    run(whole)
    part = session(tmp_path, data, "part")
    stopped = run(part, stop_at=5)
    assert stopped.state.iteration == 5
    resumed = session(tmp_path, data, "part", resume=True)
    trainer = run(resumed)
    assert trainer.state.iteration == trainer.schedule.total_steps
    assert_equal(weights(whole), weights(resumed))
    assert repr(whole.history.scores) == repr(resumed.history.scores)
    assert part.tracker.run_id == resumed.tracker.run_id


def test_class_weights_come_from_the_training_labels(tmp_path, data):
    assert session(tmp_path, data, "plain").trainer().class_weights == {}
    made = session(tmp_path, data, "weighted", overrides={"losses.class_weighting": "balanced"})
    ((task, weight),) = made.trainer().class_weights.items()
    labels = made.experiment.manifests["csv"].labels()[made.experiment.rows(task, "train"), 0]
    assert str(task) == "csv/classification"
    assert weight.tolist() == pytest.approx([(labels == 0).sum() / (labels == 1).sum()])


def test_history_counts_every_step(tmp_path, data):
    made = session(tmp_path, data, "out")
    trainer = run(made)
    phases = trainer.schedule.phases * 2
    assert [row["steps"] for row in made.history.phases] == [phase.num_batches for phase in phases]
    assert [row["mode"] for row in made.history.phases] == [phase.mode.value for phase in phases]


def test_resuming_a_complete_run_changes_nothing(tmp_path, data):
    run(session(tmp_path, data, "out"))
    before = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    again = session(tmp_path, data, "out", resume=True)
    again.trainer().run()
    again.finish()
    after = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert after["step"] == before["step"] == 16
    assert len(after["modules"]["history"]["scores"]) == len(before["modules"]["history"]["scores"])
    assert (tmp_path / "out" / "results.md").is_file()


def test_without_any_validation_score_the_final_student_is_kept(tmp_path, data, capsys):
    # one validation image has one label value only: no AUC
    changes = {"datasets": {"csv": {"root": "csv", "tasks": ["classification"]}}}
    made = session(tmp_path, data, "out", overrides=changes)
    monkey = made.experiment.splits.by_dataset["csv"]
    monkey[monkey == "val"] = "train"
    run(made)
    made.finish()
    assert "no validation score is defined" in capsys.readouterr().out
    card = load_network(made.weights_path).card
    assert (card.model, card.validation_mean) == ("student", None)


def test_a_run_that_fails_is_marked_failed(tmp_path, data):
    made = session(tmp_path, data, "out")
    trainer = made.trainer()

    @trainer.on(Events.ITERATION_STARTED(once=3))
    def _():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trainer.run()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(made.tracker.store.uri)
    assert client.get_run(made.tracker.run_id).info.status == "FAILED"


def test_damaged_weights_are_refused(tmp_path, data):
    made = session(tmp_path, data, "out")
    run(made)
    content = bytearray(made.weights_path.read_bytes())
    content[len(content) // 2] ^= 255
    made.weights_path.write_bytes(content)
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        load_network(made.weights_path)
    made.weights_path.write_text("words")
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        load_network(made.weights_path)


def test_results_in_the_input_folder_are_no_inputs(tmp_path, data):
    made = session(tmp_path, data, "out")
    run(made)
    pictures = tmp_path / "pictures"
    for folder in ("a", "b"):
        (pictures / folder).mkdir(parents=True)
        Image.new("L", (64, 64), 90).save(pictures / folder / "x.png")
    options = Options(any_image=True, keep_identifiers=True)
    for _ in range(2):
        predictor = fx_monai.load(made.weights_path, device="cpu")
        summary = predict_files(predictor, [pictures], output_dir=pictures / "found", options=options)
        assert summary.written == ["x", "x_2"]


def test_whole_run_leaves_tables_pictures_and_weights(tmp_path, data, capsys):
    made = session(tmp_path, data, "out", overrides={"evaluation.after_task": "own"})
    made.trainer().run()
    out = made.finish()
    for name in ("results.md", "results.csv", "results.json", "phases.csv", "validation.csv", "learning_curves.png"):
        assert (out / name).stat().st_size > 0, name
    assert list((out / "overlays").glob("coco_*.png"))
    # every task twice, right after it was trained, by student and teacher
    with (out / "after_task.csv").open() as file:
        primary = [row for row in csv.DictReader(file) if row["metric"] in ("auc_macro", "ap40", "dice_positive")]
    assert [row["after"] for row in primary[::2]] == [
        "coco/localization",
        "coco/segmentation",
        "csv/classification",
    ] * 2
    assert all(row["after"] == f"{row['dataset']}/{row['kind']}" for row in primary)
    summary = json.loads((out / "data.json").read_text())["datasets"]["coco"]["splits"]
    assert sum(part["images"] for part in summary.values()) == 10
    page = (out / "report.html").read_text()
    assert "Not in this run." not in page
    cases = json.loads((out / "cases" / "test" / "cases.json").read_text())
    assert {case["kind"] for case in cases} == {"classification", "localization", "segmentation"}
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["model"] for row in rows} == {"student", "teacher", "selected"}
    assert {row["split"] for row in rows} == {"test"}
    network = load_network(made.weights_path)
    assert network.card.recipe == "tiny"

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("L", (90, 50), 100).save(pictures / "wide.png")
    (pictures / "broken.png").write_bytes(b"")
    predictor = fx_monai.load(out, device="cpu")
    summary = predict_files(predictor, [pictures], output_dir=tmp_path / "predicted")
    assert summary.written == []
    assert "no frontal chest radiograph (the image has a single grey value;" in summary.failed[1][1]
    options = Options(any_image=True, keep_identifiers=True)
    summary = predict_files(predictor, [pictures], output_dir=tmp_path / "predicted", options=options)
    assert summary.written == ["wide"]
    assert Path(summary.failed[0][0]).name == "broken.png"
    result = json.loads((tmp_path / "predicted" / "wide.json").read_text())
    assert (result["image"]["width"], result["image"]["height"]) == (90, 50)
    assert result["gate"] == {
        "verdict": "refused",
        "reasons": ["the image has a single grey value", "there are no tags"],
    }
    assert "research use only" in result["note"]
    with Image.open(tmp_path / "predicted" / result["masks"][0]["files"][0]) as mask:
        assert mask.size == (90, 50)
    assert not list((tmp_path / "predicted").glob(".part*"))


def test_output_folder_is_not_overwritten(tmp_path, data):
    run(session(tmp_path, data, "out"))
    with pytest.raises(CheckpointError, match="already holds a run"):
        session(tmp_path, data, "out")


def test_resume_refuses_what_does_not_fit(tmp_path, data):
    with pytest.raises(CheckpointError, match="no checkpoint to resume"):
        session(tmp_path, data, "new", resume=True)
    run(session(tmp_path, data, "out"))
    changed = session(tmp_path, data, "out", resume=True, overrides={"teacher.ema_momentum": 0.5})
    with pytest.raises(CheckpointError, match=r"another recipe\.teacher\.ema_momentum"):
        changed.trainer()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        session(tmp_path, data, "out", resume=True).trainer()


def test_unreadable_images_are_listed_and_skipped_only_when_asked(tmp_path, data):
    (data / "csv" / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(Exception, match=r"1 of 10 can't be used \(3.png: 3.png: unreadable"):
        session(tmp_path, data, "a")
    made = session(tmp_path, data, "b", overrides={"data.skip_unreadable": True})
    assert int(made.experiment.stores["csv"].valid.sum()) == 9


def test_missing_pieces_are_named_before_any_work(tmp_path, data):
    with pytest.raises(ConfigError, match=r"there is no class 'sqare'\. Did you mean 'square'"):
        session(tmp_path, data, "a", overrides={"datasets.coco.classes": {"segmentation": ["sqare"]}})
    assert main(["train", str(tmp_path / "recipe.yaml"), "--data-root", str(data), "--dry-run"]) == 0
