"""What ``python -m monai.bundle`` lets pass: misspelt overrides and tracebacks for mistakes of the user."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from fx_monai.errors import ConfigError, FxError, did_you_mean

_RUN_FLAGS = {
    "config_file", "meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "args_file",
    "tracking_uri", "experiment_name", "run_name", "save_execute_config", "workflow_type",
}  # fmt: skip


def print_user_errors_plainly() -> None:
    """Under ``python -m monai.bundle``, end with the message of an ``FxError`` instead of MONAI's traceback."""
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py"):
        return
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, FxError):
            cause = cause.__cause__ or cause.__context__
        if cause is None and isinstance(error, ValueError) and str(error).startswith("run ID"):
            cause = _no_such_run(str(error))
        if cause is None or os.environ.get("FX_MONAI_DEBUG"):
            default(kind, error, traceback)
        else:
            sys.stderr.write(f"{cause}\n")

    sys.excepthook = hook


def _no_such_run(message: str) -> ConfigError:
    """Return MONAI's message about a run id that the configuration doesn't have, in the form of our own."""
    known = ("training", "evaluating", "inferring")
    name = message.partition("'")[2].partition("'")[0]
    return ConfigError(
        where="python -m monai.bundle run",
        problem=f"the configuration has no run '{name}'. {did_you_mean(name, known)}".rstrip(),
        expected="training with train.json, evaluating with evaluate.json, inferring with inference.json",
        remedy="Correct the run, or name the configuration that has it",
    )


def refuse_unknown_overrides(bundle_root: str, words: Sequence[str] | None = None) -> None:
    """Refuse ``--key`` words of ``python -m monai.bundle run`` whose first part no configuration has.

    MONAI adds an unknown key silently, so a misspelt override would do nothing.

    Raises:
        ConfigError: with the closest known key.
    """
    words = sys.argv[1:] if words is None else list(words)
    if not words or words[0] not in ("run", "run_workflow"):
        return
    known = set(_RUN_FLAGS)
    for file in (Path(bundle_root) / "configs").glob("*.json"):
        if file.name != "metadata.json":
            known |= set(json.loads(file.read_text(encoding="utf-8")))
    if known == _RUN_FLAGS:
        raise ConfigError(
            where="python -m monai.bundle run",
            problem=f"there are no configurations in '{Path(bundle_root) / 'configs'}'",
            expected="the bundle's folder",
            remedy="Run from the bundle's folder, or name it with --bundle_root",
        )
    for word in words:
        if not word.startswith("--"):
            continue
        key = word[2:].partition("=")[0].lstrip("+").replace("::", "#").split("#")[0]
        if key not in known and key.replace("-", "_") not in known:
            raise ConfigError(
                where="python -m monai.bundle run",
                problem=f"the override '--{key}' names nothing. {did_you_mean(key, known)}".rstrip(),
                expected=f"one of {', '.join(sorted(known - _RUN_FLAGS))}",
                remedy="Correct the name",
            )
