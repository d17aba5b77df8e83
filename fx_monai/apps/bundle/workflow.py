"""What the bundle's configurations name: thin classes and functions; the JSON files hold values and no logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import Dataset

from fx_monai.apps.devices import choose_device
from fx_monai.apps.evaluation import print_scores
from fx_monai.apps.finetune import fine_tuned_recipe
from fx_monai.apps.training import TrainingSession
from fx_monai.engine.processes import join, leave
from fx_monai.errors import CheckpointError
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network


class RecordList(Dataset):
    """The images of a split as plain dicts, so that ``train#dataset#data`` can be replaced by a shorter list.

    Args:
        data: see :meth:`fx_monai.apps.experiment.Experiment.records`.
    """

    def __init__(self, data: Sequence[dict[str, str | int]]) -> None:
        super().__init__(data)


def require_weights(path: str | Path) -> Path:
    """Return the path of the bundle's weights.

    Raises:
        CheckpointError: they are not there; it says where to get them.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            where=str(path),
            problem="there is no such file; a bundle from the source code has no weights",
            expected="the weights of the bundle",
            remedy="Train them (python -m monai.bundle run training --config_file configs/train.json), make a "
            "bundle with weights (fx-monai bundle RUN/model.pt), or name others: --weights, for evaluating --ckpt_dir",
        )
    return Path(path)


def load_weights(path: str | Path) -> FoundationX:
    """Build the network that the bundle's weights belong to; evaluation mode, on the CPU.

    Raises:
        CheckpointError: no weights, not weights of fx_monai, or damaged.
    """
    return load_network(require_weights(path))


def default_device(backend: str = "") -> torch.device:
    """Return the first GPU, else the CPU; of several processes (torchrun, SLURM), which join here, each its own GPU.

    Args:
        backend: how processes talk: ``nccl`` or ``gloo``; default: nccl where there are GPUs.
    """
    join(backend)
    return choose_device("")


def leave_processes() -> None:
    """End what :func:`default_device` began."""
    leave()


def training_session(
    *,
    recipe: str,
    data_root: str,
    output_dir: str,
    weights_path: str,
    device: torch.device | str,
    seed: int | None,
    overrides: Mapping[str, Any],
    resume: bool,
    read_only: bool = False,
) -> TrainingSession:
    """Build the session of a recipe."""
    values = dict(overrides)
    if seed is not None:
        values["seed"] = seed
    return TrainingSession(
        recipe,
        data_root=data_root,
        output_dir=output_dir,
        weights_path=weights_path,
        device=device,
        overrides=values,
        resume=bool(resume),
        read_only=bool(read_only),
        tracking_database=Path(output_dir) / "mlruns.db",
    )


def fine_tuning_session(
    *, weights: str, mode: str, recipe: str, overrides: Mapping[str, Any], **options: Any
) -> TrainingSession:
    """Build the session of a fine-tuning.

    Args:
        weights: see :func:`fx_monai.apps.starting_point.starting_point`.
        mode: ``head-first``, ``full`` or ``head``.
        recipe: target, see :func:`fx_monai.apps.fine_tuning.target_recipe`.
        overrides: values of the recipe by dotted key.
        options: as in :func:`training_session`.
    """
    name, values = fine_tuned_recipe(weights, recipe, mode, overrides)
    return training_session(recipe=name, overrides=values, **options)


def evaluate(session: TrainingSession, weights: str, split: str) -> None:
    """Evaluate weights on a split of the session's data and print the table."""
    network = load_weights(weights).to(session.device)
    print_scores(network, session.experiment, split, device=session.device, output_dir=str(session.output_dir))
