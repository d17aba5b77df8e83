"""A training stopped and resumed is one run in MLflow, with everything a user looks for and nothing private."""

import json
import signal
import sqlite3

import mlflow
import pytest
from ignite.engine import Events

from fx_monai.apps.training import TrainingSession
from tests.builders import tiny_data_root, tiny_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory, _mlflow_template):
    """Train the tiny recipe in a folder with a difficult name; return session, client, and the status in between."""
    folder = tmp_path_factory.mktemp("private") / "jane doe 50% #1 é"
    folder.mkdir()
    with sqlite3.connect(_mlflow_template) as template, sqlite3.connect(folder / "mlruns.db") as copy:
        template.backup(copy)
    recipe = str(tiny_recipe(folder / "recipe.yaml"))
    tiny_data_root(folder / "data")
    roots = {f"datasets.{name}.root": str(folder / "data" / name) for name in ("coco", "csv")}
    options = {"data_root": folder / "data", "output_dir": folder / "out", "overrides": roots}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FX_MONAI_CACHE", str(folder / "cache"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stopped = TrainingSession(recipe, **options)
        trainer = stopped.trainer()
        trainer.add_event_handler(Events.ITERATION_STARTED(once=5), lambda: signal.raise_signal(signal.SIGTERM))
        trainer.run()
        stopped.finish()
        client = stopped.tracker.store.client
        between = [run.info.status for run in client.search_runs([stopped.tracker.experiment_id])]
        session = TrainingSession(recipe, resume=True, **options)
        session.trainer().run()
        session.finish()
    return session, client, between


@pytest.fixture
def parent(trained):
    session, client, _ = trained
    return client.get_run(session.tracker.run_id)


@pytest.fixture
def children(trained):
    session, client, _ = trained
    found = client.search_runs([session.tracker.experiment_id])
    return {run.info.run_name: run for run in found if run.info.run_id != session.tracker.run_id}


def test_one_run_with_a_child_per_task(trained, parent, children):
    _, _, between = trained
    assert between == ["KILLED"] * 4
    assert set(children) == {"coco/localization", "coco/segmentation", "csv/classification"}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children.values()]} == {"FINISHED"}
    assert parent.data.params["schedule.cycles"] == "2"
    assert children["csv/classification"].data.params["classes"] == '["bright"]'


def test_every_point_stands_once_losses_at_steps_and_scores_at_cycles(trained, parent, children):
    session, client, _ = trained
    names = {
        "val/coco/segmentation/dice_positive/teacher": [1, 2],
        "val/mean/segmentation/dice_positive/teacher": [1, 2],
        "test/coco/segmentation/dice_positive/selected": [2],
        "train/csv/classification/release/loss": [8, 16],
    }
    for name, steps in names.items():
        assert [point.step for point in client.get_metric_history(parent.info.run_id, name)] == steps, name
    value = next(
        row["value"]
        for row in session.history.scores
        if (row["dataset"], row["metric"], row["model"], row["cycle"]) == ("coco", "dice_positive", "teacher", 2)
    )
    child = children["coco/segmentation"]
    assert child.data.metrics["val/dice_positive/teacher"] == pytest.approx(value)
    assert {"test/dice_positive/selected_low", "test/dice_positive/square/selected"} <= set(child.data.metrics)


def test_datasets_have_hashes(parent, children):
    logged = {entry.dataset.name: entry.dataset for entry in parent.inputs.dataset_inputs}
    assert set(logged) == {"coco", "csv"}
    assert len({entry.digest for entry in logged.values()}) == 2
    assert json.loads(logged["csv"].profile) | {"num_rows": 10, "train": 6} == json.loads(logged["csv"].profile)
    (own,) = children["csv/classification"].inputs.dataset_inputs
    assert own.dataset.digest == logged["csv"].digest


def texts(client, run_id, folder, path=None):
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            yield from texts(client, run_id, folder, entry.path)
        elif not entry.path.endswith(".png"):
            with open(client.download_artifacts(run_id, entry.path, str(folder)), encoding="utf-8") as file:
                yield entry.path, file.read()
        else:
            yield entry.path, ""


def test_files_and_nothing_private(trained, parent, children, tmp_path):
    _, client, _ = trained
    files = dict(texts(client, parent.info.run_id, tmp_path))
    assert set(files) == {
        "recipe.yaml",
        "results.md",
        "results.csv",
        "report.html",
        "learning_curves.png",
        *(f"environment/{name}" for name in ("packages.txt", "machine.json", "bundle_metadata.json")),
    }
    assert "mlflow==" in files["environment/packages.txt"]
    assert json.loads(files["environment/machine.json"])["CPU cores"]
    told = [*files.values()]
    for run in [parent, *children.values()]:
        told += [*run.data.params.values(), *run.data.tags.values(), *run.data.metrics]
        told += [f"{entry.dataset.source} {entry.dataset.profile}" for entry in run.inputs.dataset_inputs]
    assert "<folder>" in parent.data.params["datasets.coco.root"]
    for text in told:
        assert "jane" not in text
    # patients of the CSV folder are p0 to p9
    assert all(f"p{number}" not in text.split() for number in range(10) for text in told)


def test_registered_model_takes_paths_and_returns_findings(trained, monkeypatch):
    session, client, _ = trained
    versions = client.search_model_versions("name = 'fx_monai'")
    assert [(str(v.version), v.run_id, v.tags["recipe"]) for v in versions] == [("1", session.tracker.run_id, "tiny")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", session.tracker.store.uri)
    model = mlflow.pyfunc.load_model("models:/fx_monai/1")
    image = str(next((session.output_dir.parent / "data" / "csv" / "images").glob("*.png")))
    found = model.predict([image, "/no/such.png"], params={"any_image": True, "threshold": 0.0})
    assert list(found["image"]) == [image, "/no/such.png"]
    assert (found["error"][0], found["width"][0]) == ("", 64)
    assert "no such" in found["error"][1]
    (finding,) = found["findings"][0]
    assert finding["label"] == "bright"
    assert 0 <= finding["probability"] <= 1
    assert len(found["boxes"][0]) > 0
    assert found["findings"][1] == []
    # as Spark and `mlflow models serve` do: the answer is what the signature says
    from mlflow.models.utils import _enforce_schema

    _enforce_schema(found, model.metadata.signature.outputs)
    assert model.metadata.flavors["python_function"].get("code") is None
