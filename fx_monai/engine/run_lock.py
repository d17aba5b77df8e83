"""One run at a time in an output folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout
from ignite.engine import Engine, Events

from fx_monai.engine.processes import is_writer
from fx_monai.errors import CheckpointError


class RunLock:
    """Holds an output folder while a run writes into it.

    It keeps off other processes and, where the file system can, other machines. The lock ends with the process that
    holds it, whatever ends that.

    Args:
        folder: the output folder; it is made when the lock is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / ".lock"
        self._lock = FileLock(self._path, timeout=0)

    def attach(self, engine: Engine) -> None:
        """Hold the folder from STARTED to the end of the run."""
        engine.add_event_handler(Events.STARTED, self.take)
        engine.add_event_handler(Events.COMPLETED, self.release)
        engine.add_event_handler(Events.TERMINATE, self.release)
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: self.release())

    def take(self) -> None:
        """Take the folder; of several processes, the one that writes does.

        Raises:
            CheckpointError: another run holds it.
        """
        if not is_writer() or self._lock.is_locked:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise CheckpointError(
                where=str(self.folder),
                problem="another run is writing into the output folder",
                expected="one run per folder",
                remedy="Wait until it has ended, or name another folder with --out",
            ) from None
        except (OSError, NotImplementedError):
            # a file system without locks: runs go unprotected rather than not at all
            return

    def check(self) -> None:
        """Refuse early a folder that another run holds; leaves no trace in one that holds no run.

        Raises:
            CheckpointError: another run holds it.
        """
        if self._path.is_file() and not self._lock.is_locked:
            self.take()
            self.release()

    def release(self) -> None:
        """Let go of the folder; does nothing when it isn't held."""
        self._lock.release()

    def __enter__(self) -> RunLock:
        """Take the folder."""
        self.take()
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the folder."""
        self.release()
