"""Maps of findings for image files: where in the picture a probability comes from, drawn over the image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fx_monai.apps.map_comparison import method
from fx_monai.apps.prediction import load_model
from fx_monai.data.pixels import to_uint8
from fx_monai.data.vocabulary import vocabulary
from fx_monai.errors import ConfigError, FxError
from fx_monai.files import file_word, write_text, written_together
from fx_monai.inference.inputs import find_images, named_by_stem
from fx_monai.inference.plain import to_plain
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.result import Finding
from fx_monai.inference.source import Source, read_source
from fx_monai.inference.summary import Summary
from fx_monai.models.activation_maps import activation_maps
from fx_monai.ops.affine import letterbox_matrix, warp
from fx_monai.progress import progress_bar
from fx_monai.types import Kind, Task

LEAST_PROBABILITY = 0.5
_OPACITY = 0.55
_COLOURS = "inferno"
WARNING = "a map tells where a probability comes from; it is no outline of a finding"


def map_files(
    weights: Path,
    inputs: Sequence[Path],
    *,
    output_dir: Path,
    finding: str = "",
    device: str = "",
    any_image: bool = False,
) -> Summary:
    """Write maps of files and folders (searched recursively); one bad file doesn't stop the rest.

    Per image ``<name>_maps.json`` and, for every finding that is present, ``<name>_map_<dataset>_<label>.png`` in the
    geometry of the source. A finding counts as present from its operating threshold on, else from a probability of 0.5.

    Args:
        weights: model.pt of a run.
        inputs: files or folders.
        output_dir: where to write.
        finding: harmonised finding; maps of all heads that carry it, present or not. "" = what is present.
        device: "" = first GPU, else CPU.
        any_image: also what is no frontal chest radiograph.

    Raises:
        CheckpointError: the weights can't be used.
        ConfigError: the network classifies nothing, or no such finding.
        DataError: an input doesn't exist, or the folders hold no image.
    """
    if finding:
        vocabulary().labels_of(finding)
    predictor = load_model(weights, device=device)
    if not any(task.kind is Kind.CLASSIFICATION for task in predictor.network.specs):
        raise ConfigError(
            where=str(weights),
            problem="the network has no classification task",
            expected="weights with at least one",
            remedy="Take other weights; boxes and masks come with `fx-monai predict`",
        )
    paths = named_by_stem(find_images(inputs, leave_out=output_dir))
    summary, bar = Summary(output_dir), progress_bar("maps")
    for number, (name, path) in enumerate(paths.items(), start=1):
        try:
            map_file(predictor, read_source(path, any_image=any_image), name, output_dir, finding=finding)
            summary.written.append(name)
        except FxError as error:
            summary.failed.append((name, str(error)))
        bar(number, len(paths))
    return summary


def map_file(predictor: Predictor, source: Source, name: str, folder: Path, *, finding: str = "") -> None:
    """Write the maps of one image; all files appear together, the JSON last."""
    predicted = predictor.predict_batch([source])[0]
    maps = activation_maps(predictor.network, predictor.prepare(source).to(predictor.device))
    image = to_uint8(source.pixels)
    folder.mkdir(parents=True, exist_ok=True)
    with written_together(folder) as place:
        entries = []
        for own in _chosen(predicted.findings, finding):
            task = Task(own.dataset, Kind.CLASSIFICATION)
            column = predictor.network.specs[task].classes.index(own.label)
            values = _in_source(maps[task].maps[0, column].float().cpu().numpy(), image.shape)
            file = f"{name}_map_{own.dataset}_{file_word(own.label)}.png"
            draw_map(image, values).save(place / file)
            entries.append(_entry(own, values, file))
        about = {key: value for key, value in to_plain(predicted).items() if key not in ("findings", "boxes", "masks")}
        content = {**about, "method": method(predictor.network), "meaning": WARNING, "maps": entries}
        with write_text(place / f"{name}_maps.json") as out:
            json.dump(content, out, indent=2)
            out.write("\n")


def draw_map(image: NDArray[np.uint8], values: NDArray[np.floating]) -> Image.Image:
    """Return the image with what is positive in a map in colours, the highest value the brightest.

    Args:
        image: (H, W) uint8.
        values: (H, W).
    """
    positive = np.maximum(values, 0)
    strength = positive / positive.max() if positive.max() > 0 else positive
    colours = matplotlib.colormaps[_COLOURS](strength)[..., :3] * 255
    opacity = (_OPACITY * strength)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return Image.fromarray((grey * (1 - opacity) + colours * opacity).round().astype(np.uint8))


def _chosen(findings: Sequence[Finding], finding: str) -> Iterator[Finding]:
    for own in findings:
        present = own.probability >= LEAST_PROBABILITY if own.present is None else own.present
        if own.finding == finding if finding else present:
            yield own


def _in_source(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a map of the network's input in pixels of the source."""
    height, width = shape
    to_source = cv2.invertAffineTransform(letterbox_matrix(width, height, len(values)))
    return np.asarray(warp(values, to_source, (width, height)))


def _entry(finding: Finding, values: NDArray[np.float32], file: str) -> dict[str, Any]:
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return {
        "dataset": finding.dataset,
        "label": finding.label,
        "finding": finding.finding,
        "probability": round(finding.probability, 4),
        "peak_xy": [int(x), int(y)],
        "file": file,
    }
