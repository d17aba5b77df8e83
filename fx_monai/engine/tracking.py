"""MLflow: one run per training, also when it is resumed.

The default is an SQLite file; ``MLFLOW_TRACKING_URI`` in the environment goes first. Metric names sort and plot
well: ``val/<dataset>/<kind>/<metric>/<model>``, ``train/<dataset>/<kind>/<mode>/<loss>``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from ignite.engine import Engine, Events

from fx_monai.engine.events import ScheduleEvents
from fx_monai.engine.history import History, Row

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_FORBIDDEN = re.compile(r"[^\w\-. :/]")


class MLflowTracker:
    """Handler that writes parameters, phase losses, scores and files of a run to MLflow.

    Args:
        database: SQLite file used unless ``MLFLOW_TRACKING_URI`` is set; files go to the folder ``mlruns`` beside it.
        experiment: name of the experiment.
        run_name: shown in the list of runs.
        parameters: the resolved recipe; nested keys are joined by dots.
        tags: plain tags such as the package version.
        history: source of losses and scores.
    """

    def __init__(
        self,
        *,
        database: Path,
        experiment: str,
        run_name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        history: History,
    ) -> None:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database.resolve()}"
        self._lock = database.with_name(database.name + ".lock")
        self.artifacts = (database.resolve().parent / "mlruns").as_uri()
        self.experiment = experiment
        self.run_name = run_name
        self.parameters = parameters
        self.tags = dict(tags)
        self.history = history
        self.run_id = ""
        self._client: Any = None
        self._logged = (0, 0)
        database.parent.mkdir(parents=True, exist_ok=True)

    def attach(self, engine: Engine) -> None:
        """Follow the run from start to end; mark it FAILED when it raises and KILLED when it is stopped."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(ScheduleEvents.PHASE_COMPLETED, self.log_new)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_new)
        engine.add_event_handler(Events.TERMINATE, self._terminate)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self) -> None:
        if self._client is not None:
            return
        # runs that start together must not create the same database twice
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with FileLock(self._lock), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._open()

    def _open(self) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self.uri)
        if self.run_id and self._exists(self.run_id):
            self._client.update_run(self.run_id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.experiment)
        identifier = (
            found.experiment_id
            if found
            else self._client.create_experiment(
                self.experiment, artifact_location=self.artifacts if self.uri.startswith("sqlite") else None
            )
        )
        tags = {"mlflow.source.name": "fx_monai", **self.tags}
        self.run_id = self._client.create_run(identifier, run_name=self.run_name, tags=tags).info.run_id
        for key, value in _flat(self.parameters).items():
            self._client.log_param(self.run_id, key, str(value)[:500])

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run_id)
        except MlflowException:
            return False
        return True

    def log_new(self) -> None:
        """Write the rows of the history that have not been written."""
        phases, scores = self._logged
        for row in self.history.phases[phases:]:
            prefix = f"train/{row['dataset']}/{row['kind']}/{row['mode']}"
            losses = {k: v for k, v in row.items() if isinstance(v, float) and k != "seconds"}
            self.log_metrics({f"{prefix}/{name}": value for name, value in losses.items()}, step=row["step"])
        for row in self.history.scores[scores:]:
            self.log_metrics({score_name(row): row["value"]}, step=row["cycle"])
        self._logged = (len(self.history.phases), len(self.history.scores))

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Write finite values at once; names lose characters that MLflow forbids."""
        from mlflow.entities import Metric

        self._start()
        now = int(time.time() * 1000)
        metrics = [
            Metric(_FORBIDDEN.sub("_", name), float(value), now, step)
            for name, value in values.items()
            if math.isfinite(value)
        ]
        if metrics:
            self._client.log_batch(self.run_id, metrics=metrics)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file with the run."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run with FINISHED, KILLED or FAILED."""
        if self._client is not None and self.run_id:
            self._client.set_terminated(self.run_id, status)

    def _terminate(self) -> None:
        self.finish("KILLED")

    def _fail(self, engine: Engine, error: BaseException) -> None:
        # the exception itself is raised again by the handler of the checkpoints, which is attached last
        self.finish("FAILED")

    def state_dict(self) -> dict[str, Any]:
        """Return the run id and how many rows have been written."""
        return {"run_id": self.run_id, "logged": list(self._logged)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the same run."""
        self.run_id = state["run_id"]
        self._logged = (state["logged"][0], state["logged"][1])


def score_name(row: Row) -> str:
    """Return the MLflow name of a score row."""
    return f"{row['split']}/{row['dataset']}/{row['kind']}/{row['metric']}/{row['model']}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
