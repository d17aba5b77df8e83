"""What the bundle's configurations name: thin classes and functions; the JSON files hold values and no logic."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines.workflow import Workflow

from fx_monai.apps.devices import choose_device
from fx_monai.apps.evaluation import print_scores
from fx_monai.apps.prediction import Predictor, Summary, find_images, predict_file
from fx_monai.apps.training import TrainingSession, say
from fx_monai.engine.processes import join, leave
from fx_monai.errors import ConfigError, DataError, FxError, did_you_mean
from fx_monai.models.weights import load_network
from fx_monai.progress import progress_bar

_RUN_FLAGS = {
    "config_file", "meta_file", "logging_file", "init_id", "run_id", "final_id", "tracking", "args_file",
    "tracking_uri", "experiment_name", "run_name", "save_execute_config", "workflow_type",
}  # fmt: skip


def _print_user_errors_plainly() -> None:
    """Under ``python -m monai.bundle``, end with the message of an ``FxError`` instead of MONAI's traceback."""
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


if Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py"):
    _print_user_errors_plainly()


class RecordList(Dataset):
    """The images of a split as plain dicts, so that ``train#dataset#data`` can be replaced by a shorter list.

    Args:
        data: see :meth:`fx_monai.apps.experiment.Experiment.records`.
    """

    def __init__(self, data: Sequence[dict[str, str | int]]) -> None:
        super().__init__(data)


class ImageFiles(Dataset):
    """The images of a folder (searched recursively) or one file, as dicts with ``name`` and ``image`` (path).

    Args:
        folder: folder or file.
        data: such dicts, instead of looking into the folder.

    Raises:
        DataError: nothing there.
    """

    def __init__(self, folder: str, data: list[dict[str, str]] | None = None) -> None:
        found = find_images([Path(folder)]) if data is None else {}
        super().__init__(data if data is not None else [{"name": n, "image": str(p)} for n, p in found.items()])


class PredictionEvaluator(Workflow):
    """Predicts every image of a dataset and writes JSON, masks and overlay; one bad file doesn't stop the rest.

    Args:
        device: where to run.
        dataset: see :class:`ImageFiles`.
        inferer: the predictor.
        output_dir: folder to write.
        any_image: predict what the gate refuses too.
        val_handlers: Ignite or MONAI handlers.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        dataset: ImageFiles,
        inferer: Predictor,
        output_dir: str,
        any_image: bool = False,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(device, 1, [dataset[i] for i in range(len(dataset))], decollate=False)
        self.inferer = inferer
        self.any_image = any_image
        self.summary = Summary(Path(output_dir))
        self._bar = progress_bar("predicting")
        self.add_event_handler(Events.COMPLETED, self._report)
        self._register_handlers(list(val_handlers or ()))

    def _iteration(self, engine: Engine, item: Mapping[str, str]) -> dict[str, Any]:
        try:
            predict_file(self.inferer, Path(item["image"]), item["name"], self.summary.folder, any_image=self.any_image)
            self.summary.written.append(item["name"])
        except FxError as error:
            self.summary.failed.append((item["name"], str(error)))
        self._bar(self.state.iteration, self.state.epoch_length)
        return {}

    def _report(self) -> None:
        for line in self.summary.lines():
            say(line)
        if self.summary.failed:
            raise DataError(
                where="inferring",
                problem=f"{len(self.summary.failed)} of {self.state.epoch_length} images could not be predicted",
                expected="whole images",
                remedy="See the list above; the results of the others are written",
            )


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


def evaluate(session: TrainingSession, weights: str, split: str) -> None:
    """Evaluate weights on a split of the session's data and print the table."""
    network = load_network(Path(weights)).to(session.device)
    print_scores(network, session.experiment, split, device=session.device, output_dir=str(session.output_dir))


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
