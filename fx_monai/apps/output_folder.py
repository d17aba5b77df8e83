"""The folder of a run: may it be written, does it hold a run already."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fx_monai.engine.run_lock import RunLock
from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.files import previous_file


def check_output(checkpoint: Path, resume: bool) -> None:
    """Check the folder of a run's checkpoint; it isn't made, so that a training that is refused leaves nothing.

    Raises:
        CheckpointError: ``resume`` without a checkpoint, a checkpoint without ``resume``, or another run at work.
        ConfigError: the folder can't be written.
    """
    RunLock(checkpoint.parent).check()
    if resume and not checkpoint.is_file():
        previous = previous_file(checkpoint, 1)
        raise CheckpointError(
            where=str(checkpoint),
            problem="there is no checkpoint to resume",
            expected="the output folder of a run that was started before",
            remedy=f"Rename {previous.name} to {checkpoint.name} and resume again"
            if previous.is_file()
            else "Leave out --resume, or name the folder with --out",
        )
    if not resume and checkpoint.is_file():
        raise CheckpointError(
            where=str(checkpoint.parent),
            problem="the output folder already holds a run",
            expected="a new folder, or --resume to go on with that run",
            remedy="Name another folder with --out, or delete this one",
        )
    try:
        nearest = next(folder for folder in checkpoint.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(
            where=str(checkpoint.parent),
            problem=f"the output folder can't be written ({error.strerror})",
            expected="a folder with write permission",
            remedy="Name another folder with --out",
        ) from error
