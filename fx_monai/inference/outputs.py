"""The files of a result: written beside each other whole, the JSON last, or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fx_monai.data.pixels import to_uint8
from fx_monai.errors import DataError
from fx_monai.inference.overlay import draw_overlay
from fx_monai.inference.plain import to_plain
from fx_monai.inference.result import Prediction
from fx_monai.inference.source import Source


def write_outputs(prediction: Prediction, source: Source, *, name: str, folder: Path) -> None:
    """Write ``<name>.json``, ``<name>_overlay.png`` and ``<name>_mask_<dataset>_<label>.png``.

    Raises:
        DataError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
            files = _write_masks(prediction, name, Path(temporary))
            overlay_of(prediction, source).save(Path(temporary) / f"{name}_overlay.png")
            content = to_plain(prediction, mask_files=files)
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


def overlay_of(prediction: Prediction, source: Source) -> Image.Image:
    """Return the picture of a result."""
    return draw_overlay(
        to_uint8(source.pixels),
        boxes=[(f"{b.label} {b.score:.2f}", (b.x1, b.y1, b.x2, b.y2)) for b in prediction.best_boxes()],
        masks=[(mask.label, mask.mask) for mask in prediction.masks if mask.area_px],
        findings=[(f"{f.dataset}: {f.label}", f.probability) for f in prediction.findings],
        note=prediction.note,
    )


def _write_masks(prediction: Prediction, name: str, folder: Path) -> dict[tuple[str, str], str]:
    files = {}
    for mask in prediction.masks:
        file = f"{name}_mask_{mask.dataset}_{''.join(c if c.isalnum() else '-' for c in mask.label)}.png"
        Image.fromarray(mask.mask.astype(np.uint8) * 255).save(folder / file)
        files[mask.dataset, mask.label] = file
    return files
