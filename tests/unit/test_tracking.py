import multiprocessing

import pytest
from mlflow.tracking import MlflowClient

from fx_monai.engine.history import History
from fx_monai.engine.tracking import MLflowTracker, score_name


def tracker(database, **options):
    values = {"experiment": "e", "run_name": "r", "parameters": {"a": {"b": 1}}, "tags": {}, "history": History()}
    return MLflowTracker(database=database, **{**values, **options})


def start_one(database):
    made = tracker(database)
    made._start()
    made.finish()


def test_two_runs_may_start_on_a_new_database_together(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=start_one, args=(tmp_path / "m.db",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path / 'm.db'}")
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert runs[0].data.params == {"a.b": "1"}


def test_resumed_run_stays_one_run_and_writes_every_row_once(tmp_path):
    history = History()
    first = tracker(tmp_path / "m.db", history=history)
    first._start()
    row = {
        "dataset": "d",
        "kind": "k",
        "split": "val",
        "model": "student",
        "metric": "ap@0.4",
        "value": 0.5,
        "cycle": 1,
    }
    history.scores.append(row)
    first.log_new()
    second = tracker(tmp_path / "m.db", history=history)
    second.load_state_dict(first.state_dict())
    second._start()
    history.scores.append({**row, "cycle": 2, "value": float("nan")})
    second.log_new()
    assert second.run_id == first.run_id
    client = MlflowClient(second.uri)
    assert [(m.step, m.value) for m in client.get_metric_history(first.run_id, "val/d/k/ap_0.4/student")] == [(1, 0.5)]
    assert score_name(row) == "val/d/k/ap@0.4/student"


def test_environment_goes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    assert tracker(tmp_path / "m.db").uri.endswith("other.db")


@pytest.mark.parametrize("status", ["FINISHED", "KILLED"])
def test_status_of_the_end(tmp_path, status):
    made = tracker(tmp_path / "m.db")
    made._start()
    made.finish(status)
    assert MlflowClient(made.uri).get_run(made.run_id).info.status == status
