"""Prediction: image files in, findings, boxes and masks out, in pixels (and mm) of the source image."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fx_monai import __version__
from fx_monai.apps.devices import choose_device
from fx_monai.apps.figures import draw_overlay
from fx_monai.data.gate import Judgement, Verdict, judge_image
from fx_monai.data.letterbox import letterbox
from fx_monai.data.pixels import (
    IMAGE_SUFFIXES,
    Pixels,
    is_dicom,
    is_image_name,
    pixel_spacing_mm,
    read_pixels,
    to_uint8,
)
from fx_monai.data.vocabulary import vocabulary
from fx_monai.errors import DataError, FxError
from fx_monai.models.card import Calibration
from fx_monai.models.decode import decode_boxes
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network
from fx_monai.ops.affine import letterbox_matrix, warp
from fx_monai.types import Kind, Task

RESEARCH_ONLY = "research use only"
DRAWN_PER_LABEL = 3


@dataclass(frozen=True)
class Finding:
    """One probability: which head (dataset), which label of it.

    Args:
        calibrated: the probability was scaled by a temperature fitted on validation.
        threshold: probability from which on the finding counts as present, fitted on validation; None = there is none.
    """

    dataset: str
    label: str
    probability: float
    calibrated: bool = False
    threshold: float | None = None


@dataclass(frozen=True)
class FoundBox:
    """One box.

    Args:
        x1, y1, x2, y2: pixels of the source image, origin top left.
        width_mm, height_mm: None when the file doesn't tell the pixel spacing.
    """

    dataset: str
    label: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    width_mm: float | None = None
    height_mm: float | None = None


@dataclass(frozen=True)
class FoundMask:
    """One mask.

    Args:
        mask: (H, W) bool, source geometry.
        area_px: pixels of the source image.
        area_mm2: None when the file doesn't tell the pixel spacing.
    """

    dataset: str
    label: str
    mask: NDArray[np.bool_]
    area_px: int
    area_mm2: float | None = None


@dataclass(frozen=True)
class Prediction:
    """Everything the network says about one image.

    Args:
        width, height: of the source image in pixels.
        findings: every class of every classification head, in the order of the heads.
        boxes: above the threshold, best first per dataset.
        masks: one per class of every segmentation head, also empty ones.
    """

    width: int
    height: int
    findings: list[Finding] = field(default_factory=list)
    boxes: list[FoundBox] = field(default_factory=list)
    masks: list[FoundMask] = field(default_factory=list)

    def best_boxes(self, per_label: int = DRAWN_PER_LABEL) -> list[FoundBox]:
        """Return the best boxes of every label of every dataset, few enough to be drawn."""
        drawn: Counter[tuple[str, str]] = Counter()
        best = []
        for box in self.boxes:
            drawn[box.dataset, box.label] += 1
            if drawn[box.dataset, box.label] <= per_label:
                best.append(box)
        return best


class Predictor:
    """Runs a network on images of any size.

    Args:
        network: with its card.
        device: where to run.
        threshold: least score of a box.
    """

    def __init__(self, network: FoundationX, *, device: torch.device | str = "cpu", threshold: float = 0.3) -> None:
        self.network = network.to(device).eval()
        self.device = torch.device(device)
        self.threshold = threshold

    @torch.inference_mode()
    def predict(self, pixels: Pixels, *, spacing_mm: tuple[float, float] | None = None) -> Prediction:
        """Predict every task for one image.

        Args:
            pixels: (H, W), uint8 or uint16, bone bright.
            spacing_mm: mm per pixel (x, y) when known.
        """
        height, width = pixels.shape
        side = self.network.config.image_size
        to_input = letterbox_matrix(width, height, side)
        outputs = self.network.predict_tasks(network_input(pixels, side).to(self.device))
        result = Prediction(width, height)
        to_source = cv2.invertAffineTransform(to_input)
        for task, output in outputs.items():
            if task.kind is Kind.CLASSIFICATION:
                result.findings.extend(self._findings(task, output))
            elif task.kind is Kind.LOCALIZATION:
                result.boxes.extend(self._boxes(task, output, to_source, result, spacing_mm))
            else:
                result.masks.extend(self._masks(task, output, to_source, result, spacing_mm))
        return result

    def _findings(self, task: Task, output: Mapping[str, torch.Tensor]) -> Iterator[Finding]:
        spec = self.network.specs[task]
        unknown = (None,) * len(spec.classes)
        fitted = self.network.card.calibration.get(str(task), Calibration(unknown, unknown, 0))
        scale = torch.tensor([temperature or 1.0 for temperature in fitted.temperatures], device=self.device)
        logits = output["logits"][0] / scale
        probs = (logits.softmax(-1) if spec.exclusive else logits.sigmoid()).tolist()
        for label, probability, temperature, threshold in zip(
            spec.classes, probs, fitted.temperatures, fitted.thresholds, strict=True
        ):
            yield Finding(task.dataset, label, probability, temperature is not None, threshold)

    def _boxes(
        self,
        task: Task,
        output: Mapping[str, torch.Tensor],
        to_source: NDArray[np.float64],
        image: Prediction,
        spacing_mm: tuple[float, float] | None,
    ) -> Iterator[FoundBox]:
        found = decode_boxes(output)[0]
        scale, (left, top) = to_source[0, 0], to_source[:, 2]
        for box, score, label in zip(*(found[k].tolist() for k in ("boxes_xyxy", "scores", "labels")), strict=True):
            if score < self.threshold:
                break
            x1, x2 = (float(np.clip(x * scale + left, 0, image.width)) for x in (box[0], box[2]))
            y1, y2 = (float(np.clip(y * scale + top, 0, image.height)) for y in (box[1], box[3]))
            name = self.network.specs[task].classes[label]
            size = ((x2 - x1) * spacing_mm[0], (y2 - y1) * spacing_mm[1]) if spacing_mm else (None, None)
            yield FoundBox(task.dataset, name, score, x1, y1, x2, y2, *size)

    def _masks(
        self,
        task: Task,
        output: Mapping[str, torch.Tensor],
        to_source: NDArray[np.float64],
        image: Prediction,
        spacing_mm: tuple[float, float] | None,
    ) -> Iterator[FoundMask]:
        probs = output["logits"][0].sigmoid().float().cpu().numpy()
        for label, channel in zip(self.network.specs[task].classes, probs, strict=True):
            mask = warp(channel, to_source, (image.width, image.height)) > 0.5
            area = int(mask.sum())
            yield FoundMask(
                task.dataset, label, mask, area, area * spacing_mm[0] * spacing_mm[1] if spacing_mm else None
            )


@dataclass
class Summary:
    """What became of a batch of files.

    Args:
        written: names of the images that were predicted.
        failed: name and message of those that were not.
        folder: where the results are.
    """

    folder: Path
    written: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def lines(self, done: str = "predicted") -> list[str]:
        """Return the summary for the user; ``done`` is what was done to the images."""
        lines = [f"{len(self.written)} images {done}, results in {self.folder} ({RESEARCH_ONLY})"]
        if self.failed:
            lines.append(f"{len(self.failed)} images were left out:")
            lines += [f"  {message}" for _, message in self.failed]
        return lines


def predict_files(
    weights: Path,
    inputs: Sequence[Path],
    *,
    output_dir: Path,
    device: str = "",
    threshold: float = 0.3,
    any_image: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict files and folders (searched recursively) and write the results; one bad file doesn't stop the rest.

    What the gate refuses (see :mod:`fx_monai.data.gate`) isn't predicted, unless ``any_image`` says so.

    Raises:
        CheckpointError: the weights can't be used.
        DataError: an input doesn't exist, or the folders hold no image.
    """
    network = load_network(weights)
    paths = find_images(inputs, leave_out=output_dir)
    predictor = Predictor(network, device=choose_device(device), threshold=threshold)
    summary = Summary(output_dir)
    for number, (name, path) in enumerate(paths.items(), start=1):
        try:
            predict_file(predictor, path, name, output_dir, any_image=any_image)
            summary.written.append(name)
        except FxError as error:
            summary.failed.append((name, str(error)))
        if progress:
            progress(number, len(paths))
    return summary


def find_images(inputs: Sequence[Path], *, leave_out: Path | None = None) -> dict[str, Path]:
    """Return a unique name -> path of every image among files and folders, but for what lies in ``leave_out``.

    Raises:
        DataError: an input doesn't exist, or no image was found.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise DataError(
                where=str(path),
                problem="there is no such file or folder",
                expected="an image",
                remedy="Correct the path",
            )
        if path.is_file():
            found.append(path)
        else:
            found += sorted(p for p in path.rglob("*") if p.is_file() and _looks_like_image(p))
    if leave_out is not None:
        results = leave_out.resolve()
        found = [path for path in found if results not in path.resolve().parents or path in inputs]
    if not found:
        raise DataError(
            where=", ".join(str(path) for path in inputs),
            problem="no image was found",
            expected=f"files ending in {', '.join(IMAGE_SUFFIXES)}, or DICOM files",
            remedy="Name the files or another folder",
        )
    names: dict[str, Path] = {}
    for path in found:
        name, number = path.stem, 2
        while name in names:
            name, number = f"{path.stem}_{number}", number + 1
        names[name] = path
    return names


def network_input(pixels: Pixels, side: int) -> torch.Tensor:
    """Return what the network reads: (H, W) pixels fitted into a square, (1, 1, S, S) float32 in [0, 1]."""
    return torch.from_numpy(letterbox(to_uint8(pixels), side)).to(torch.float32)[None, None] / 255


def read_checked(path: Path, *, any_image: bool = False) -> tuple[Pixels, Judgement]:
    """Return the pixels of a file and what the gate says about it.

    Raises:
        DataError: unreadable, or no frontal chest radiograph and not ``any_image``.
    """
    pixels = read_pixels(path)
    judgement = judge_image(path, pixels)
    if judgement.verdict is Verdict.REFUSED and not any_image:
        raise DataError(
            where=path.name,
            problem=f"it is no frontal chest radiograph ({'; '.join(judgement.reasons)})",
            expected="a frontal chest radiograph, upright, bone bright",
            remedy="Leave it out, or take it all the same with --any-image",
        )
    return pixels, judgement


def predict_file(predictor: Predictor, path: Path, name: str, output_dir: Path, *, any_image: bool = False) -> None:
    """Predict one file and write ``<name>.json``, ``<name>_overlay.png`` and ``<name>_mask_<dataset>_<label>.png``.

    Raises:
        DataError: unreadable, or no frontal chest radiograph and not ``any_image``.
    """
    pixels, judgement = read_checked(path, any_image=any_image)
    prediction = predictor.predict(pixels, spacing_mm=pixel_spacing_mm(path))
    write_prediction(
        prediction,
        to_uint8(pixels),
        predictor.network,
        name=name,
        source=str(path),
        folder=output_dir,
        judgement=judgement,
    )


def write_prediction(
    prediction: Prediction,
    image: NDArray[np.uint8],
    network: FoundationX,
    *,
    name: str,
    source: str,
    folder: Path,
    judgement: Judgement | None = None,
) -> None:
    """Write one image's results; all files of an image appear together, the JSON last.

    Raises:
        DataError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
            files = _draw(prediction, image, network, name, Path(temporary))
            content = to_json(prediction, network, source=source, mask_files=files, judgement=judgement)
            (Path(temporary) / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            for path in sorted(Path(temporary).iterdir(), key=lambda p: p.suffix == ".json"):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise DataError(
            where=str(folder),
            problem=f"the results can't be written ({error.strerror or type(error).__name__})",
            expected="a folder with write permission and free space",
            remedy="Name another folder with --out",
        ) from error


def to_json(
    prediction: Prediction,
    network: FoundationX,
    *,
    source: str,
    mask_files: Mapping[tuple[str, str], str],
    judgement: Judgement | None = None,
) -> dict[str, Any]:
    """Return the result as plain values; beside each label the finding it means, null for in-house labels.

    ``gate`` tells whether the image counts as a frontal chest radiograph and why, null when nobody asked.
    """
    card = network.card
    return {
        "note": "; ".join(filter(None, (RESEARCH_ONLY, card.note))),
        "source": source,
        "width": prediction.width,
        "height": prediction.height,
        "gate": {"verdict": judgement.verdict.value, "reasons": list(judgement.reasons)} if judgement else None,
        "model": {"fx_monai": __version__, **{key: value for key, value in vars(card).items() if key != "calibration"}},
        "findings": [_finding(finding) for finding in prediction.findings],
        "boxes": [
            {**_names(box), **{k: round(v, 4) if isinstance(v, float) else v for k, v in vars(box).items()}}
            for box in prediction.boxes
        ],
        "masks": [
            {
                **_names(mask),
                "area_px": mask.area_px,
                "area_mm2": None if mask.area_mm2 is None else round(mask.area_mm2, 1),
                "file": mask_files.get((mask.dataset, mask.label)),
            }
            for mask in prediction.masks
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    threshold = finding.threshold
    return {
        **_names(finding),
        "probability": round(finding.probability, 4),
        "calibrated": finding.calibrated,
        "threshold": None if threshold is None else round(threshold, 4),
        "present": None if threshold is None else finding.probability >= threshold,
    }


def _names(item: Finding | FoundBox | FoundMask) -> dict[str, str | None]:
    finding = vocabulary().finding_of(item.dataset, item.label)
    return {"dataset": item.dataset, "label": item.label, "finding": finding or None}


def _draw(
    prediction: Prediction, image: NDArray[np.uint8], network: FoundationX, name: str, folder: Path
) -> dict[tuple[str, str], str]:
    files = {}
    for mask in prediction.masks:
        file = f"{name}_mask_{mask.dataset}_{''.join(c if c.isalnum() else '-' for c in mask.label)}.png"
        Image.fromarray(mask.mask.astype(np.uint8) * 255).save(folder / file)
        files[mask.dataset, mask.label] = file
    overlay = draw_overlay(
        image,
        boxes=[(f"{b.label} {b.score:.2f}", (b.x1, b.y1, b.x2, b.y2)) for b in prediction.best_boxes()],
        masks=[(mask.label, mask.mask) for mask in prediction.masks if mask.area_px],
        findings=[(f"{f.dataset}: {f.label}", f.probability) for f in prediction.findings],
        note="; ".join(filter(None, (RESEARCH_ONLY, network.card.note))),
    )
    overlay.save(folder / f"{name}_overlay.png")
    return files


def _looks_like_image(path: Path) -> bool:
    # DICOM files are often named by a UID, whose last number looks like a suffix
    return is_image_name(path) or is_dicom(path)
