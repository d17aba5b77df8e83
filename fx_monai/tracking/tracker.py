"""The tracker: a training in MLflow as one parent run with a child run per task, also when it is resumed."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.history import History
from fx_monai.errors import ConfigError
from fx_monai.tracking.description import Description
from fx_monai.tracking.names import flat_parameters
from fx_monai.tracking.points import Row
from fx_monai.tracking.run import PARENT_TAG, TASK_TAG, TrackedRun
from fx_monai.tracking.store import TrackingStore, store_errors
from fx_monai.types import Kind, Task

EVERY_SECONDS = 10.0
"""Losses are written at the end of a phase, but not more often: phases can be single steps."""

_EXPERIMENT_TAGS = {
    # without it the pages are those for chats with language models
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Trainings of fx_monai: a run per training, below it a run per task. Research use only.",
}


class MLflowTracker:
    """Handler that writes parameters, datasets, losses, scores and files of a run to MLflow.

    Args:
        store: where to; connected when the training starts.
        experiment: name of the experiment.
        run_name: shown in the list of runs.
        describe: called once, for a run that is new.
        history: source of losses and validation scores.

    Attributes:
        run_id: of the parent run; "" before the training has started.
    """

    def __init__(
        self,
        store: TrackingStore,
        *,
        experiment: str,
        run_name: str,
        describe: Callable[[], Description],
        history: History,
    ) -> None:
        self.store = store
        self.experiment = experiment
        self.run_name = run_name
        self.describe = describe
        self.history = history
        self.run_id = ""
        self.experiment_id = ""
        self.test_rows: Sequence[Row] = ()
        self._runs: list[TrackedRun] = []
        self._last_write = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow the run from start to end; mark it FAILED when it raises and KILLED when it is stopped."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self._write_now_and_then)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)
        engine.add_event_handler(Events.TERMINATE, self._terminate)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def start(self) -> None:
        """Open the run that is resumed, or a new one.

        Raises:
            ConfigError: the store can't be used.
        """
        if self._runs:
            return
        self.store.connect()
        try:
            self._runs = self._resumed() or self._new()
        except store_errors() as error:
            raise self.store.refusal(error) from error
        atexit.register(self._at_exit)

    def write(self, *, insist: bool = False) -> bool:
        """Write the rows that haven't been written; return False when the store doesn't take them."""
        self._last_write = time.monotonic()
        streams: Mapping[str, Sequence[Row]] = {
            "losses": self.history.phases,
            "validation": self.history.scores,
            "test": self.test_rows,
        }

        def action() -> None:
            self.start()
            for run in self._runs:
                run.write(streams)

        return self.store.attempt(action, insist=insist)

    def finish(self, status: str = "FINISHED") -> None:
        """Write what is left and close the runs with FINISHED, KILLED or FAILED."""
        if not self.run_id:
            return
        self.write(insist=True)
        self.store.attempt(lambda: self._close(status), insist=True)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close the runs at the end of a block: FINISHED, FAILED on an exception, KILLED on an interrupt."""
        try:
            yield
        except KeyboardInterrupt:
            self.finish("KILLED")
            raise
        except BaseException:
            self.finish("FAILED")
            raise
        self.finish()

    def log_files(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Store files with the parent run."""
        for path in paths:
            self.store.attempt(partial(self.store.client.log_artifact, self.run_id, str(path), folder))

    def state_dict(self) -> dict[str, Any]:
        """Return the run id; how far the run is written stands in the run itself."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the same run."""
        self.run_id = state["run_id"]

    def _resumed(self) -> list[TrackedRun]:
        """Return the runs that go on; none when they were deleted, or the store is another than before."""
        from mlflow.exceptions import MlflowException

        if not self.run_id:
            return []
        client = self.store.client
        try:
            parent = client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            parent = None
        if parent is None or parent.info.lifecycle_stage != "active":
            self.store.report("note: the run isn't in the MLflow store (any more); a new one holds all of its history")
            return []
        self.experiment_id = parent.info.experiment_id
        children = client.search_runs([self.experiment_id], f"tags.`{PARENT_TAG}` = '{self.run_id}'")
        runs = []
        for run in [parent, *children]:
            client.update_run(run.info.run_id, status="RUNNING")
            runs.append(TrackedRun(client, run.info.run_id, _task(run.data.tags), run.data.tags))
        return runs

    def _new(self) -> list[TrackedRun]:
        client, description = self.store.client, self.describe()
        self.experiment_id = self._experiment()
        tags = {"mlflow.source.name": "fx_monai", **description.tags}
        parent = client.create_run(self.experiment_id, run_name=self.run_name, tags=tags).info.run_id
        runs = [TrackedRun(client, parent, None, {})]
        runs[0].log_parameters(flat_parameters(description.parameters))
        datasets = {name: note.entity() for name, note in description.datasets.items()}
        if datasets:
            client.log_inputs(parent, list(datasets.values()))
        # the list of runs shows the newest first
        for task, parameters in reversed(list(description.tasks.items())):
            own = {**tags, PARENT_TAG: parent, TASK_TAG: str(task)}
            child = client.create_run(self.experiment_id, run_name=str(task), tags=own).info.run_id
            runs.append(TrackedRun(client, child, task, {}))
            runs[-1].log_parameters(flat_parameters(parameters))
            if task.dataset in datasets:
                client.log_inputs(child, [datasets[task.dataset]])
        for name, text in description.texts.items():
            client.log_text(parent, text, name)
        self.run_id = parent
        return runs

    def _experiment(self) -> str:
        client = self.store.client
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            return str(
                client.create_experiment(self.experiment, artifact_location=self.store.artifacts, tags=_EXPERIMENT_TAGS)
            )
        if found.lifecycle_stage != "active":
            raise ConfigError(
                where="MLflow",
                problem=f"the experiment '{self.experiment}' was deleted in '{self.store.address}'",
                expected="an experiment that is there, or a name that was never used",
                remedy="Restore it (mlflow experiments restore), or set MLFLOW_EXPERIMENT_NAME to another name",
            )
        return str(found.experiment_id)

    def _write_now_and_then(self) -> None:
        if time.monotonic() - self._last_write >= EVERY_SECONDS:
            self.write()

    def _close(self, status: str) -> None:
        for run in self._runs:
            self.store.client.set_terminated(run.run_id, status)
        atexit.unregister(self._at_exit)

    def _terminate(self) -> None:
        self.finish("KILLED")

    def _fail(self, engine: Engine, error: BaseException) -> None:
        # the exception itself is raised again by the handler of the checkpoints, which is attached last
        self.finish("FAILED")

    def _at_exit(self) -> None:
        """Mark the run when the interpreter ends in the middle of it, as after a second Ctrl-C."""
        with suppress(*store_errors()):
            self._close("KILLED")


def _task(tags: Mapping[str, str]) -> Task | None:
    if TASK_TAG not in tags:
        return None
    dataset, _, kind = tags[TASK_TAG].rpartition("/")
    return Task(dataset, Kind(kind))
