"""The tracking store: where it is, how it is opened, and what happens when it goes away.

The default is an SQLite file; ``MLFLOW_TRACKING_URI`` in the environment goes first. A store that can't be used refuses
the training at its start. One that fails later costs a warning: the training goes on, what isn't written is kept and
written when the store answers again, at the latest when the run is resumed.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from fx_monai.errors import ConfigError
from fx_monai.tracking.privacy import without_password

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_FIRST_WAIT, _LONGEST_WAIT = 60.0, 3600.0
_LOCK_SECONDS = 120.0
_SQLITE = "sqlite:///"


class TrackingStore:
    """A connection to an MLflow store.

    Args:
        database: SQLite file used unless ``MLFLOW_TRACKING_URI`` is set; files go to the folder ``mlruns`` beside it.
        report: receives a line for the user when the store fails, and when it answers again.

    Attributes:
        client: MLflow's client, None before :meth:`connect`.
        uri: address of the store, ``address`` the same without password.
    """

    def __init__(self, database: Path, report: Callable[[str], None]) -> None:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{database.resolve()}"
        self.address = without_password(self.uri)
        self.report = report
        self.client: Any = None
        self._wait = 0.0
        self._closed_until = 0.0

    @property
    def artifacts(self) -> str | None:
        """Where files of a new experiment go: beside an SQLite file; None = the server decides."""
        file = self._file()
        return (file.parent / "mlruns").as_uri() if file else None

    @property
    def command(self) -> str:
        """What a user opens to look at the runs."""
        return f"mlflow ui --backend-store-uri {self.address}" if self._file() else self.address

    def connect(self) -> None:
        """Open the store; make an SQLite file when it isn't there.

        Raises:
            ConfigError: no such server, a damaged or locked database, a version that doesn't fit.
        """
        if self.client is not None:
            return
        _make_quiet()
        if self.uri.startswith("http"):
            # MLflow's own limits let a training wait for hours for a server that doesn't answer
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        try:
            from mlflow.tracking import MlflowClient

            # runs that start together must not create the same database twice
            with self._lock(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                client = MlflowClient(tracking_uri=self.uri)
                client.search_experiments(max_results=1)
        except store_errors() as error:
            raise self.refusal(error) from error
        self.client = client

    def refusal(self, error: BaseException) -> ConfigError:
        """Return what a user is told when the store can't be used."""
        return ConfigError(
            where="MLflow",
            problem=f"the tracking store '{self.address}' can't be used ({self._reason(error)})",
            expected="an SQLite file, database or server of MLflow that can be written",
            remedy="Correct MLFLOW_TRACKING_URI or mend the store; or train without it: --set tracking.enabled=false",
        )

    def attempt(self, action: Callable[[], object], *, insist: bool = False) -> bool:
        """Do something with the store; return False when it failed or is left alone for a while after a failure.

        Args:
            action: raises what MLflow raises.
            insist: try although it has just failed; for the last writes of a run.
        """
        if time.monotonic() < self._closed_until and not insist:
            return False
        errors: tuple[type[Exception], ...] = (*store_errors(), ConfigError)
        try:
            action()
        except errors as error:
            if not self._wait:
                self.report(
                    f"warning: MLflow ({self.address}) doesn't take what is written ({self._reason(error)}); "
                    "the run goes on; checkpoints and tables are written as always"
                )
            self._wait = min(2 * self._wait or _FIRST_WAIT, _LONGEST_WAIT)
            self._closed_until = time.monotonic() + self._wait
            return False
        if self._wait:
            self.report("note: MLflow answers again; what was missing is written")
        self._wait = self._closed_until = 0.0
        return True

    def _file(self) -> Path | None:
        return Path(self.uri.removeprefix(_SQLITE)).resolve() if self.uri.startswith(_SQLITE) else None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        file = self._file()
        with ExitStack() as held:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                # a file system without locks: opened unprotected rather than not at all
                with suppress(NotImplementedError):
                    held.enter_context(FileLock(file.with_name(file.name + ".lock"), timeout=_LOCK_SECONDS))
            yield

    def _reason(self, error: BaseException) -> str:
        text = error.problem if isinstance(error, ConfigError) else str(error)
        line = next(iter(text.splitlines()), "") or type(error).__name__
        return line.replace(self.uri, self.address)[:200]


def store_errors() -> tuple[type[Exception], ...]:
    """Return what MLflow and what it stands on raise when a store can't be used."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    # ImportError: the driver of a database isn't installed
    return MlflowException, SQLAlchemyError, CommandError, RequestException, OSError, ImportError


def _make_quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # it prints tracebacks of what is raised, and said plainly, anyway
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
