"""The tracker on an SQLite store: one run per training, whatever happens to it or to the store."""

import multiprocessing

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fx_monai.engine.history import History
from fx_monai.errors import ConfigError
from fx_monai.tracking.description import DatasetNote, Description
from fx_monai.tracking.run import TrackedRun
from fx_monai.tracking.store import TrackingStore
from fx_monai.tracking.tracker import MLflowTracker
from fx_monai.types import Kind, Task

TASK = Task("nih", Kind.CLASSIFICATION)
SCORE = {"dataset": "nih", "kind": "classification", "split": "val", "model": "student", "metric": "auc_macro"}
CURVE = "val/nih/classification/auc_macro/student"


def describe():
    note = DatasetNote("nih", "0" * 32, "https://example.org/nih", {"num_rows": 3})
    return Description({"a": {"b": 1}}, {"recipe": "r"}, {TASK: {"seed": 0}}, {"nih": note}, {"recipe.yaml": "a: 1"})


def tracker(database, *, said=None, history=None, state=None):
    store = TrackingStore(database, (said if said is not None else []).append)
    made = MLflowTracker(
        store, experiment="e", run_name="r", describe=describe, history=history if history is not None else History()
    )
    if state is not None:
        made.load_state_dict(state)
    return made


def scores(history, *values):
    first = len(history.scores)
    history.scores += [{**SCORE, "cycle": first + n, "value": value} for n, value in enumerate(values, start=1)]


def runs(client):
    found = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if run not in parents]


def test_a_new_run_has_a_child_per_task_parameters_and_datasets(mlflow_database):
    made = tracker(mlflow_database)
    made.start()
    (parent,), (child,) = runs(made.store.client)
    assert (parent.info.run_name, parent.data.params, parent.info.status) == ("r", {"a.b": "1"}, "RUNNING")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.info.run_name, child.data.params) == ("nih/classification", {"seed": "0"})
    for run in (parent, child):
        assert [d.dataset.digest for d in run.inputs.dataset_inputs] == ["0" * 32]
    assert [a.path for a in made.store.client.list_artifacts(parent.info.run_id)] == ["recipe.yaml"]
    assert "mlflow.user" not in parent.data.tags
    made.finish()
    assert {run.info.status for found in runs(made.store.client) for run in found} == {"FINISHED"}


def test_a_killed_run_goes_on_from_its_checkpoint_and_has_every_row_once(mlflow_database):
    history = History()
    first = tracker(mlflow_database, history=history)
    first.start()
    state = first.state_dict()
    scores(history, 0.5, 0.25)
    assert first.write()
    # killed here; the checkpoint was made before both rows, which come again
    again = History()
    second = tracker(mlflow_database, history=again, state=state)
    second.start()
    scores(again, 0.5, 0.25, float("nan"), 0.75)
    assert second.write()
    client = second.store.client
    assert second.run_id == first.run_id
    assert [(p.step, p.value) for p in client.get_metric_history(second.run_id, CURVE)] == [
        (1, 0.5),
        (2, 0.25),
        (4, 0.75),
    ]
    (_,), (child,) = runs(client)
    curve = client.get_metric_history(child.info.run_id, "val/auc_macro/student")
    assert [(p.step, p.value) for p in curve] == [(1, 0.5), (2, 0.25), (4, 0.75)]


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_an_ended_run_runs_again_when_it_is_resumed(mlflow_database, status):
    first = tracker(mlflow_database)
    first.start()
    first.finish(status)
    client = MlflowClient(first.store.uri)
    assert [run.info.status for found in runs(client) for run in found] == [status] * 2
    second = tracker(mlflow_database, state=first.state_dict())
    second.start()
    assert [run.info.status for found in runs(client) for run in found] == ["RUNNING"] * 2
    second.finish()
    assert [run.info.status for found in runs(client) for run in found] == ["FINISHED"] * 2


def test_a_deleted_run_is_replaced_by_a_whole_one(mlflow_database):
    history, said = History(), []
    first = tracker(mlflow_database, history=history)
    first.start()
    scores(history, 0.5)
    first.write()
    first.store.client.delete_run(first.run_id)
    second = tracker(mlflow_database, history=history, said=said, state=first.state_dict())
    second.start()
    second.write()
    assert second.run_id != first.run_id
    assert "isn't in the MLflow store" in said[0]
    assert [p.value for p in second.store.client.get_metric_history(second.run_id, CURVE)] == [0.5]


def test_a_deleted_experiment_is_refused(mlflow_database):
    first = tracker(mlflow_database)
    first.start()
    first.store.client.delete_experiment(first.experiment_id)
    with pytest.raises(ConfigError, match="experiment 'e' was deleted"):
        tracker(mlflow_database).start()


def test_a_store_that_goes_away_loses_nothing(mlflow_database, monkeypatch):
    history, said = History(), []
    made = tracker(mlflow_database, history=history, said=said)
    made.start()
    scores(history, 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(made.store.client, "log_batch", _away)
        assert not made.write()
        scores(history, 0.25)
        # it isn't asked again at once
        patch.setattr(made.store.client, "log_batch", _never)
        assert not made.write()
    assert len(said) == 1
    assert "doesn't take what is written (database is locked)" in said[0]
    made.finish()
    assert [p.value for p in made.store.client.get_metric_history(made.run_id, CURVE)] == [0.5, 0.25]
    assert "answers again" in said[1]


def test_an_interrupted_block_closes_the_run(mlflow_database):
    made = tracker(mlflow_database)
    made.start()
    for error, status in ((KeyboardInterrupt, "KILLED"), (ZeroDivisionError, "FAILED")):
        with pytest.raises(error), made.closing():
            raise error
        assert made.store.client.get_run(made.run_id).info.status == status


class Calls:
    def __init__(self):
        self.sizes, self.tags = [], []

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self.sizes += [len(entries) for entries in (metrics, params) if entries]
        self.tags += [(tag.key, tag.value) for tag in tags]


def test_calls_stay_below_the_limits_of_mlflow():
    calls = Calls()
    run = TrackedRun(calls, "id", TASK, {})
    run.write({"validation": [{**SCORE, "metric": f"auc/{n}", "cycle": 1, "value": 0.5} for n in range(1201)]})
    assert calls.sizes == [500, 500, 201]
    assert calls.tags == [("fx_monai.rows_written", '{"losses": 0, "validation": 1201, "test": 0}')]
    run.log_parameters({str(n): "" for n in range(201)})
    assert calls.sizes[3:] == [100, 100, 1]


@pytest.mark.slow
def test_two_runs_may_start_on_a_new_database_together(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_start_one, args=(tmp_path / "m.db",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    parents, children = runs(MlflowClient(f"sqlite:///{tmp_path / 'm.db'}"))
    assert [run.info.status for run in [*parents, *children]] == ["FINISHED"] * 4


def _start_one(database):
    made = tracker(database)
    made.start()
    made.finish()


def _away(*args, **options):
    raise MlflowException("database is locked\n[SQL: SELECT ...]")


def _never(*args, **options):
    raise AssertionError("asked although it has just failed")
