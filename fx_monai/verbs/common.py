"""What several verbs share: where data lie, how a verb speaks, how images are named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fx_monai.errors import ConfigError

DATA_ROOT = "FX_MONAI_DATA_ROOT"
"""Environment variable: the folder that the datasets' roots are relative to."""


def images_named(verb: str, inputs: Sequence[str]) -> list[Path]:
    """Return the paths that a verb is given; raise ConfigError when there is none."""
    if not inputs:
        raise ConfigError(
            where=f"fx-monai {verb}",
            problem="no image is named",
            expected="files or folders after the weights",
            remedy="Add the path of a PNG, JPEG or DICOM file",
        )
    return [Path(name) for name in inputs]


def bar(title: str) -> Callable[[int, int], None]:
    """Return a progress bar to be called with (done, total)."""
    from fx_monai.progress import progress_bar

    return progress_bar(title)


def say(text: str) -> None:
    """Print a result to standard output."""
    sys.stdout.write(text + "\n")
