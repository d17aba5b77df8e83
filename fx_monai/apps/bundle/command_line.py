"""What ``python -m monai.bundle`` lets pass: misspelt overrides and tracebacks for mistakes of the user."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fx_monai.errors import ConfigError, FxError, did_you_mean

_RUN_FLAGS = {
    "config_file", "meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "args_file",
    "tracking_uri", "experiment_name", "run_name", "save_execute_config", "workflow_type", "_meta_",
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
    """Refuse ``--key`` words of ``python -m monai.bundle run`` that name nothing in any configuration.

    MONAI adds an unknown key silently, so a misspelt override would do nothing. Below an object (``_target_``) every
    name passes: it becomes an argument, and an unknown argument is refused by the object itself.

    Raises:
        ConfigError: with the closest known key.
    """
    words = sys.argv[1:] if words is None else list(words)
    if not words or words[0] not in ("run", "run_workflow"):
        return
    configs = _configurations(Path(bundle_root) / "configs")
    for word in words:
        key = word[2:].partition("=")[0].lstrip("+").replace("::", "#").replace("-", "_")
        parts = key.split("#")
        if word.startswith("--") and parts[0] not in _RUN_FLAGS and all(_misses(config, parts) for config in configs):
            _refuse(key, parts, configs)


def _refuse(key: str, parts: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    found = [_misses(config, parts) for config in configs]
    depth = max(len(miss.known) for miss in found if miss)
    choices = sorted({name for miss in found if miss and len(miss.known) == depth for name in miss.choices})
    raise ConfigError(
        where="python -m monai.bundle run",
        problem=f"the override '--{key}' names nothing. {did_you_mean(parts[depth], choices)}".rstrip(),
        expected=f"one of {', '.join('#'.join((*parts[:depth], name)) for name in choices)}",
        remedy="Correct the name",
    )


def _configurations(folder: Path) -> list[dict[str, Any]]:
    files = [file for file in sorted(folder.glob("*.json")) if file.name != "metadata.json"]
    if not files:
        raise ConfigError(
            where="python -m monai.bundle run",
            problem=f"there are no configurations in '{folder}'",
            expected="the bundle's folder",
            remedy="Run from the bundle's folder, or name it with --bundle_root",
        )
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


@dataclass(frozen=True)
class _Miss:
    """Where a key leaves a configuration: the parts that are there, and the names that could follow."""

    known: tuple[str, ...]
    choices: tuple[str, ...]


def _misses(config: Mapping[str, Any], parts: Sequence[str]) -> _Miss | None:
    node: Any = config
    for depth, part in enumerate(parts):
        # an argument of an object, an element of a list, or what an expression gives
        if not isinstance(node, Mapping) or "_target_" in node:
            return None
        if part not in node:
            return _Miss(tuple(parts[:depth]), tuple(node))
        node = node[part]
    return None
