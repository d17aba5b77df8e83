"""What the bundle's configurations name: thin functions, so that the JSON files hold values and no logic."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.data import Dataset

from fx_monai.apps.devices import choose_device
from fx_monai.apps.training import TrainingSession
from fx_monai.errors import ConfigError, did_you_mean

_RUN_FLAGS = {
    "config_file", "meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "args_file",
    "tracking_uri", "experiment_name", "run_name", "save_execute_config", "workflow_type",
}  # fmt: skip


class RecordList(Dataset):
    """The images of a split as plain dicts, so that ``train#dataset#data`` can be replaced by a shorter list.

    Args:
        data: see :meth:`fx_monai.apps.experiment.Experiment.records`.
    """

    def __init__(self, data: list[dict[str, str | int]]) -> None:
        super().__init__(data)


def default_device() -> torch.device:
    """Return the first GPU, else the CPU."""
    return choose_device("")


def training_session(
    *,
    bundle_root: str,
    recipe: str,
    data_root: str,
    output_dir: str,
    weights_path: str,
    device: torch.device | str,
    seed: int | None,
    overrides: Mapping[str, Any],
    resume: bool,
) -> TrainingSession:
    """Check the command line's overrides against the configuration, then build the session.

    Raises:
        ConfigError: an override names nothing.
    """
    refuse_unknown_overrides(Path(bundle_root), sys.argv[1:])
    values = dict(overrides)
    if seed is not None:
        values["seed"] = int(seed)
    return TrainingSession(
        recipe,
        data_root=data_root,
        output_dir=output_dir,
        weights_path=weights_path,
        device=device,
        overrides=values,
        resume=bool(resume),
        tracking_database=Path(output_dir) / "mlruns.db",
    )


def refuse_unknown_overrides(bundle_root: Path, words: list[str]) -> None:
    """Refuse ``--key`` words of ``python -m monai.bundle run`` whose first part no configuration has.

    MONAI adds an unknown key silently, so a misspelt override would do nothing.

    Raises:
        ConfigError: with the closest known key.
    """
    if not words or words[0] not in ("run", "run_workflow"):
        return
    known = set(_RUN_FLAGS)
    for file in (bundle_root / "configs").glob("*.json"):
        known |= set(json.loads(file.read_text(encoding="utf-8")))
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
