"""The bundle's metadata: what its network reads and returns, versions, where its weights come from, their scores.

    python -m fx_monai.apps.bundle.metadata runs/demo-seed0/model.pt bundle/configs/metadata.json

brings the metadata in the source code up to date with the recipe ``demo`` and the installed packages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fx_monai import __version__
from fx_monai.metrics.scores import primary_metric
from fx_monai.models.exported import VALUES, named_outputs, output_name
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.types import Kind, Task

_CORNERS = ("x1", "y1", "x2", "y2")
# type and format in the words of the MONAI bundle specification
_MEANING = {
    (Kind.CLASSIFICATION, "probs"): ("probabilities", "classes"),
    (Kind.CLASSIFICATION, "logits"): ("probabilities", "classes"),
    (Kind.LOCALIZATION, "scores"): ("probabilities", "classes"),
    (Kind.LOCALIZATION, "logits"): ("probabilities", "classes"),
    (Kind.LOCALIZATION, "boxes_xyxy"): ("tuples", "points"),
    (Kind.SEGMENTATION, "logits"): ("probabilities", "segmentation"),
}


def network_data_format(network: FoundationX) -> dict[str, Any]:
    """Return ``network_data_format`` of the metadata: the input ``image``, and every tensor that the inferer returns.

    Shapes are measured, by one pass of an empty image. ``channel_def`` names the channels (dimension 1). Boxes have
    one channel per candidate box, so ``columns`` names what stands in the last dimension. ``task`` is
    ``dataset/kind``; in an ``exclusive`` classification exactly one class is true.

    Source: MONAI bundle specification, section metadata.json. Deviation: ``columns``, ``task`` and ``exclusive`` are
    keys of our own.
    """
    side = network.config.image_size
    with torch.inference_mode():
        values = named_outputs(network, torch.zeros(1, 1, side, side))
    outputs = {"pred": _tensor(network, network.primary, "logits", values["pred"])}
    for task in network.specs:
        for value in VALUES[task.kind]:
            name = output_name(task, value)
            outputs[name] = _tensor(network, task, value, values[name])
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "CR",
        "num_channels": 1,
        "spatial_shape": [side, side],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "frontal chest radiograph, bone bright, fitted into the square"},
    }
    return {"inputs": {"image": image}, "outputs": outputs}


def _tensor(network: FoundationX, task: Task, value: str, tensor: Tensor) -> dict[str, Any]:
    spec = network.specs[task]
    kind, form = _MEANING[task.kind, value]
    side = network.config.image_size
    content = {
        "type": kind,
        "format": form,
        "modality": "n/a",
        "num_channels": tensor.shape[1],
        "spatial_shape": list(tensor.shape[2:]),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "value_range": {"logits": [], "boxes_xyxy": [0, side]}.get(value, [0, 1]),
        "is_patch_data": False,
        "channel_def": _numbered(spec.classes),
        "task": str(task),
    }
    if task.kind is Kind.LOCALIZATION:
        content["channel_def"] = {f"0-{tensor.shape[1] - 1}": "candidate boxes of the network's input, in pixels"}
        content["columns"] = _numbered(_CORNERS if value == "boxes_xyxy" else spec.classes)
    elif task.kind is Kind.CLASSIFICATION:
        content["exclusive"] = spec.exclusive
    return content


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def bundle_metadata(
    shipped: Mapping[str, Any],
    network: FoundationX,
    *,
    results: Mapping[str, Any] | None,
    sha256: str,
    own_code: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a bundle with weights.

    Args:
        shipped: metadata of the bundle without weights: texts, and the packages to name.
        network: of the weights.
        results: ``results.json`` of the run that the weights are from, if there is one.
        sha256: of the weights file.
        own_code: the code is inside the bundle, so that it doesn't need the package.
    """
    card = network.card
    current = current_metadata(shipped, network)
    packages = dict(current["required_packages_version"])
    if own_code:
        packages.pop("fx_monai")
    return {
        **current,
        "required_packages_version": packages,
        "data_source": f"recipe '{card.recipe}'" + (f": {card.note}" if card.note else ""),
        "label_classes": ", ".join(f"{task}: {' | '.join(spec.classes)}" for task, spec in network.specs.items()),
        "eval_metrics": eval_metrics(results) if results else {},
        "weights": {
            "recipe": card.recipe,
            "seed": card.seed,
            "model": card.model,
            "cycle": card.cycle,
            "note": card.note,
            "fx_monai_version": card.fx_monai_version,
            "sha256": sha256,
        },
    }


def current_metadata(shipped: Mapping[str, Any], network: FoundationX) -> dict[str, Any]:
    """Return metadata with the versions that are installed, and what this network reads and returns."""
    pinned = shipped["required_packages_version"]
    classes = ", ".join(network.specs[network.primary].classes)
    return {
        **shipped,
        "version": __version__,
        "monai_version": installed_version("monai", shipped["monai_version"]),
        "pytorch_version": installed_version("torch", shipped["pytorch_version"]),
        "numpy_version": installed_version("numpy", shipped["numpy_version"]),
        "required_packages_version": {
            **{name: installed_version(name, otherwise) for name, otherwise in pinned.items()},
            "fx_monai": __version__,
        },
        "pred_classes": f"logits of {classes} ({network.primary})",
        "network_data_format": network_data_format(network),
    }


def installed_version(package: str, otherwise: str) -> str:
    """Return the version of an installed package without its local part (``+cpu``), or what is given instead."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return otherwise


def eval_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the primary metric of every task on the test split, of the weights that were selected on validation."""
    return {
        f"{row['dataset']}/{row['kind']} {row['metric']}": round(row["value"], 4)
        for row in results["rows"]
        if row["model"] == "selected" and row["metric"] == primary_metric(Kind(row["kind"]))
    }


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a configuration as the Model Zoo formats it: four spaces, keys in their order."""
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    """Bring the metadata in the source code up to date; new packages are entered by hand, with any version."""
    weights, file = Path(sys.argv[1]), Path(sys.argv[2])
    write_json(current_metadata(json.loads(file.read_text(encoding="utf-8")), load_network(weights)), file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
