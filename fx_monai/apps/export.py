"""Export: weights as ONNX, TorchScript or ``torch.export``, compared with the network before the file is kept."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fx_monai.errors import CheckpointError, ConfigError, check_choice, did_you_mean
from fx_monai.models.exported import ExportedNetwork
from fx_monai.models.weights import load_network
from fx_monai.types import Kind, Task

TOLERANCE = 1e-4
_DESCRIPTION = "fx_monai.json"
Run = Callable[[Tensor], Sequence[Tensor]]


def export_weights(weights: Path, out: Path, *, form: str, tasks: Sequence[str] = ()) -> tuple[ExportedNetwork, float]:
    """Export weights, run the exported file, and keep it only if it gives what the network gives.

    Without localization the batch size is free; with it the file takes one image at a time.

    Args:
        weights: ``model.pt`` of a run, or converted weights.
        out: file to write.
        form: ``onnx``, ``torchscript`` or ``exported``.
        tasks: ``dataset/kind`` each; default: all.

    Returns:
        What was exported, and the largest difference of an output from the network's: absolute, relative to the
        largest value where that is above 1.

    Raises:
        ConfigError: an unknown form or task, or packages that are not installed.
        CheckpointError: weights that can't be read, or outputs that differ by more than ``TOLERANCE``.
    """
    check_choice(form, _FORMS, where="--format")
    if form == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
    network = load_network(weights)
    module = ExportedNetwork(network, _choose(tasks, list(network.specs))).eval()
    write, load = _FORMS[form]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".part")
    try:
        # exporters warn about what the comparison below checks
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(module, temporary)
            difference = _compare(module, load(temporary))
        if not difference <= TOLERANCE:
            raise CheckpointError(
                where=str(out),
                problem=f"the exported network differs by {difference:.2g}",
                expected=f"at most {TOLERANCE:g}",
                remedy="Export to another format, and report the versions of torch and onnx to the developers",
            )
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return module, difference


def _choose(names: Sequence[str], known: Sequence[Task]) -> list[Task]:
    by_name = {str(task): task for task in known}
    for name in names:
        if name not in by_name:
            raise ConfigError(
                where="--tasks",
                problem=f"there is no task '{name}'. {did_you_mean(name, by_name)}".rstrip(),
                expected=f"some of {', '.join(by_name)}",
                remedy="Correct the names",
            )
    return [by_name[name] for name in names] or list(known)


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            where="--format onnx",
            problem=f"{', '.join(missing)} is not installed",
            expected="the packages of the extra 'export'",
            remedy="pip install 'fx_monai[export]'",
        )


def _example(module: ExportedNetwork, batch: int = 1) -> Tensor:
    side = module.network.config.image_size
    return torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(batch))


def _free_batch(module: ExportedNetwork) -> bool:
    return all(task.kind is not Kind.LOCALIZATION for task in module.tasks)


def _compare(module: ExportedNetwork, run: Run) -> float:
    worst = 0.0
    for batch in (1, 3) if _free_batch(module) else (1,):
        image = _example(module, batch)
        expected = _listed(module(image))
        for want, got in zip(expected, run(image), strict=True):
            if got.shape != want.shape:
                return float("inf")
            worst = max(worst, float((want - got).abs().max() / want.abs().max().clamp(min=1)))
    return worst


def _traced(module: ExportedNetwork) -> Tensor:
    # torch.export takes a size of 1 for a constant
    return _example(module, 2 if _free_batch(module) else 1)


def _dynamic(module: ExportedNetwork) -> tuple[Any, ...]:
    return ({0: torch.export.Dim("batch", min=1, max=4096)} if _free_batch(module) else None,)


def _write_exported(module: ExportedNetwork, path: Path) -> None:
    program = torch.export.export(module, (_traced(module),), dynamic_shapes=_dynamic(module))
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={_DESCRIPTION: json.dumps(module.description())})


def _load_exported(path: Path) -> Run:
    with path.open("rb") as file:
        loaded = torch.export.load(file).module()
    return lambda image: _listed(loaded(image))


def _write_torchscript(module: ExportedNetwork, path: Path) -> None:
    trace: Any = torch.jit.trace
    files = {_DESCRIPTION: json.dumps(module.description())}
    trace(module, _example(module), check_trace=False).save(str(path), _extra_files=files)


def _load_torchscript(path: Path) -> Run:
    loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda image: _listed(loaded(image))


def _write_onnx(module: ExportedNetwork, path: Path) -> None:
    import onnx

    # it warns about every constant it doesn't fold; the comparison tells whether the file is right
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    program = torch.onnx.export(
        module,
        (_traced(module),),
        dynamo=True,
        dynamic_shapes=_dynamic(module),
        input_names=["image"],
        output_names=[output.name for output in module.outputs],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {_DESCRIPTION: json.dumps(module.description())})
    onnx.save_model(model, str(path))


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: [torch.from_numpy(value) for value in session.run(None, {"image": image.numpy()})]


def _listed(values: Any) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else list(values)


_FORMS: dict[str, tuple[Callable[[ExportedNetwork, Path], None], Callable[[Path], Run]]] = {
    "onnx": (_write_onnx, _load_onnx),
    "torchscript": (_write_torchscript, _load_torchscript),
    "exported": (_write_exported, _load_exported),
}
