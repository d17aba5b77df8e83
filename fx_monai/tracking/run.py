"""One MLflow run that rows are written to: every row once, also when the training was interrupted in between."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fx_monai.tracking.points import Point, Row, loss_points, score_points
from fx_monai.types import Task

STREAMS: Mapping[str, Callable[[Sequence[Row], Task | None], list[Point]]] = {
    "losses": loss_points,
    "validation": score_points,
    "test": score_points,
}
TASK_TAG = "fx_monai.task"
PARENT_TAG = "mlflow.parentRunId"
_WRITTEN_TAG = "fx_monai.rows_written"
_BATCH, _PARAMETERS = 500, 100
"""Entries of one call: MLflow takes 1000 metrics (and 1 MB), 100 parameters."""


class TrackedRun:
    """An open run of the store.

    How many rows were written stands in a tag of the run itself, because a training that was killed begins again at
    its last checkpoint and comes to the same rows once more.

    Args:
        client: MLflow's.
        run_id: of the run.
        task: whose run it is; None = the training's.
        tags: of the run as it stands in the store.
    """

    def __init__(self, client: Any, run_id: str, task: Task | None, tags: Mapping[str, str]) -> None:
        self.client = client
        self.run_id = run_id
        self.task = task
        self.written: dict[str, int] = dict.fromkeys(STREAMS, 0)
        self.written |= json.loads(tags.get(_WRITTEN_TAG, "{}"))

    def write(self, streams: Mapping[str, Sequence[Row]]) -> None:
        """Write the rows of each stream (see :data:`STREAMS`) that haven't been written."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics, counts = [], {}
        for stream, rows in streams.items():
            new = rows[self.written[stream] :]
            if new:
                counts[stream] = len(rows)
                points = STREAMS[stream](new, self.task)
                metrics += [Metric(point.name, point.value, now, point.step) for point in points]
        written = {**self.written, **counts}
        # rows of other tasks cost no call; should they come again, they give no points again
        for start in range(0, len(metrics), _BATCH):
            last = start + _BATCH >= len(metrics)
            tags = [RunTag(_WRITTEN_TAG, json.dumps(written))] if last else []
            self.client.log_batch(self.run_id, metrics=metrics[start : start + _BATCH], tags=tags)
        self.written = written

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        """Write parameters, in as many calls as MLflow wants."""
        from mlflow.entities import Param

        entries = [Param(key, value) for key, value in parameters.items()]
        for start in range(0, len(entries), _PARAMETERS):
            self.client.log_batch(self.run_id, params=entries[start : start + _PARAMETERS])
