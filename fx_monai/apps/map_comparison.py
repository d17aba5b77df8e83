"""Maps against boxes: do the findings' maps point where annotators drew boxes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fx_monai import __version__
from fx_monai.apps.cross_dataset import Head, heads_of
from fx_monai.apps.devices import choose_device
from fx_monai.apps.evaluation import check_split, open_for_weights
from fx_monai.apps.experiment import Experiment
from fx_monai.apps.score_rows import patients_of
from fx_monai.apps.tables import markdown, with_interval, write_json
from fx_monai.data.dataset import to_device
from fx_monai.data.loader import evaluation_batches
from fx_monai.data.vocabulary import Relation, vocabulary
from fx_monai.errors import ConfigError
from fx_monai.files import write_text
from fx_monai.keys import BOX_LABELS, BOXES, IMAGE, ROW
from fx_monai.metrics.dice import mean_where
from fx_monai.metrics.map_scores import MAP_SCORES, score_map
from fx_monai.metrics.resampling import Counts, Measured, bootstrap, interval
from fx_monai.models.activation_maps import activation_maps, is_exact
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec

Row = dict[str, Any]

_BATCH = 16
_TITLES = {
    "pointing": "pointing game",
    "energy": "energy in boxes",
    "pixel_auc": "pixel AUC",
    "chance": "area (chance)",
}


@dataclass(frozen=True)
class _Pair:
    """A class of boxes and a class of a classification head that mean the same."""

    task: Task
    label: str
    head: Head


def compare_maps(
    network: FoundationX, experiment: Experiment, split: str, *, device: torch.device, resamples: int = 1000
) -> list[Row]:
    """Return one row per class of boxes and head that carries the finding.

    Only images with a box of the class count. Rows hold dataset, label, head, head_label, images, patients, and value,
    low, high of every score of :data:`fx_monai.metrics.map_scores.MAP_SCORES` under ``scores``.
    """
    network = network.to(device).eval()
    rows = []
    for task, spec in experiment.specs.items():
        if task.kind is not Kind.LOCALIZATION:
            continue
        pairs = [_Pair(task, label, head) for label in spec.classes for head in _heads(task, label, network)]
        measured: dict[_Pair, tuple[list[int], list[dict[str, float]]]] = {}
        for pair, row, scores in _measure(network, experiment, spec, pairs, split, device) if pairs else ():
            own = measured.setdefault(pair, ([], []))
            own[0].append(row)
            own[1].append(scores)
        rows += [_row(pair, *measured[pair], experiment, resamples) for pair in pairs if pair in measured]
    return rows


def compare_weights(
    weights: Path,
    recipe_name: str,
    *,
    data_root: str,
    output_dir: str = "",
    split: str = "test",
    device: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> list[str]:
    """Compare the maps of weights with the boxes of a recipe; write both files, return the lines for the user.

    Args:
        weights: model.pt of a run.
        recipe_name: name of a shipped recipe, or a YAML file.
        data_root: folder that the recipe's roots are relative to.
        output_dir: folder to write.
        split: train, val or test.
        device: "" = first GPU, else CPU.
        overrides: values of the recipe by dotted key.

    Raises:
        ConfigError: recipe, split or device, or no class of boxes is one of a classification head.
        CheckpointError: the weights can't be used.
    """
    check_split(split)
    network, experiment = open_for_weights(weights, recipe_name, data_root=data_root, overrides=overrides)
    recipe = experiment.recipe
    rows = compare_maps(network, experiment, split, device=choose_device(device), resamples=recipe.evaluation.resamples)
    if not rows:
        raise ConfigError(
            where=f"recipe {recipe.name}, {split} split",
            problem="no image has a box of a finding that a classification head carries",
            expected="a localization task with a class of a classification task",
            remedy="Name another recipe with --boxes, or another split",
        )
    paths = write_map_comparison(rows, network, Path(output_dir), split=split)
    note = f"{split} split; {method(network)}; {network.card.statement}"
    return ["", map_table(rows), "", note, *(f"written: {path}" for path in paths)]


def map_table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    header = ["boxes of", "class", "map of", "images", *(_TITLES[name] for name in MAP_SCORES)]
    lines = [
        [
            row["dataset"],
            row["label"],
            f"{row['head']}: {row['head_label']}",
            str(row["images"]),
            *(with_interval(row["scores"][name]) for name in MAP_SCORES),
        ]
        for row in rows
    ]
    return markdown(header, lines)


def write_map_comparison(rows: Sequence[Row], network: FoundationX, folder: Path, *, split: str) -> list[Path]:
    """Write ``maps_<split>.md`` and ``.json``; return the paths."""
    paths = [folder / f"maps_{split}.{suffix}" for suffix in ("md", "json")]
    with write_text(paths[0]) as file:
        file.write(f"{map_table(rows)}\n\nIn brackets: 95 % intervals by bootstrap over patients.\n")
    about = {"fx_monai": __version__, "note": network.card.statement, "split": split, "method": method(network)}
    write_json({**about, "rows": list(rows)}, paths[1])
    return paths


def method(network: FoundationX) -> str:
    """Return what the maps of a network are called."""
    return "CAM" if is_exact(network) else "Grad-CAM"


def _heads(task: Task, label: str, network: FoundationX) -> list[Head]:
    """Return the heads that carry what the boxes mean, the dataset's own first."""
    finding = vocabulary().finding_of(task.dataset, label)
    heads = heads_of(finding, network, vocabulary()) if finding else []
    own = Task(task.dataset, Kind.CLASSIFICATION)
    if not finding and own in network.specs and label in network.specs[own].classes:
        heads = [Head(own, label, Relation.SAME, network.specs[own].classes.index(label))]
    return sorted((head for head in heads if head.relation is Relation.SAME), key=lambda head: head.task != own)


def _measure(
    network: FoundationX,
    experiment: Experiment,
    spec: TaskSpec,
    pairs: Sequence[_Pair],
    split: str,
    device: torch.device,
) -> Iterator[tuple[_Pair, int, dict[str, float]]]:
    """Yield the scores of every image with a box, for every pair that the box belongs to."""
    dataset = experiment.dataset(spec.task, split, augmented=False)
    store = experiment.stores[spec.task.dataset]
    for batch in evaluation_batches(dataset, _BATCH):
        found = activation_maps(network, to_device(batch, device)[IMAGE])
        maps = {task: own.maps.float().cpu().numpy() for task, own in found.items()}
        for at, row in enumerate(batch[ROW].tolist()):
            picture = _picture(store.frame_to_store(row), store.size)
            boxes, labels = batch[BOXES][at].numpy(), batch[BOX_LABELS][at].numpy()
            for pair in pairs:
                own = boxes[labels == spec.classes.index(pair.label)]
                inside = _union(own, store.size)[picture] if len(own) else np.zeros(0, dtype=bool)
                if inside.any():
                    values = maps[pair.head.task][at, pair.head.column][picture]
                    yield pair, row, score_map(values.ravel(), inside.ravel())


def _picture(matrix: NDArray[np.float64], side: int) -> tuple[slice, slice]:
    """Return rows and columns of the input that are picture, not padding, which is the same on opposite sides."""
    left, top = (int(np.ceil(value)) for value in matrix[:, 2])
    return slice(top, side - top), slice(left, side - left)


def _union(boxes_xyxy: NDArray[np.floating], side: int) -> NDArray[np.bool_]:
    """Return the pixels whose middle lies in a box, (side, side)."""
    middles = np.arange(side) + 0.5
    x1, y1, x2, y2 = (column[:, None] for column in boxes_xyxy.T)
    columns, rows = (middles >= x1) & (middles < x2), (middles >= y1) & (middles < y2)
    return np.asarray((rows[:, :, None] & columns[:, None, :]).any(axis=0))


def _row(
    pair: _Pair, rows: Sequence[int], scores: Sequence[Mapping[str, float]], experiment: Experiment, resamples: int
) -> Row:
    values = np.array([[own[name] for name in MAP_SCORES] for own in scores])
    patients = patients_of(experiment.manifests[pair.task.dataset], np.array(rows, dtype=np.int64))
    known = ~np.isnan(values)

    def measure(counts: Counts) -> Measured:
        return dict(zip(MAP_SCORES, mean_where(values, known, counts), strict=True))

    drawn = bootstrap(measure, patients, resamples=resamples)
    whole = measure(np.ones((len(rows), 1), dtype=np.float32))
    result: dict[str, Row] = {}
    for name in MAP_SCORES:
        low, high = interval(drawn[name]) if resamples else (float("nan"), float("nan"))
        result[name] = {"value": float(whole[name][0]), "low": low, "high": high}
    return {
        "dataset": pair.task.dataset,
        "label": pair.label,
        "head": pair.head.task.dataset,
        "head_label": pair.head.label,
        "images": len(rows),
        "patients": len(set(patients)),
        "scores": result,
    }
