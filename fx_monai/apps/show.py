"""What was indexed, to look at: a contact sheet with every annotation drawn, and the counts beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fx_monai.apps.dataset_statistics import Counts, dataset_statistics
from fx_monai.apps.figures import contact_sheet
from fx_monai.data.columns import label_matrix, ragged
from fx_monai.data.letterbox import letterbox
from fx_monai.data.manifest import Manifest, Record
from fx_monai.data.pixels import read_pixels, to_uint8
from fx_monai.data.rasterise import rasterise
from fx_monai.errors import ConfigError, DataError
from fx_monai.files import write_text
from fx_monai.inference.overlay import draw_overlay
from fx_monai.ops.affine import letterbox_matrix

SIDE = 512
COLUMNS = 4
MAX_IMAGES = 200


@dataclass
class Shown:
    """What was counted and drawn.

    Args:
        statistics: see :func:`fx_monai.apps.dataset_statistics.dataset_statistics`.
        written: files.
        unreadable: image id and reason of images that were chosen and can't be drawn.
    """

    statistics: Counts
    written: list[Path] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def show_manifest(manifest: Manifest, folder: Path | None, *, images: int = 12) -> Shown:
    """Count a manifest's annotations; with a folder, write ``<dataset>.json`` and ``<dataset>.png``.

    Args:
        manifest: what to show.
        folder: where to write; None only counts.
        images: number of images on the sheet, chosen so that every class is shown when there are enough.

    Raises:
        ConfigError: a number of images that makes no sheet.
    """
    if not 1 <= images <= MAX_IMAGES:
        raise ConfigError(
            where="--images", problem=str(images), expected=f"1 to {MAX_IMAGES}", remedy="Correct the number"
        )
    shown = Shown(dataset_statistics(manifest))
    if folder is None:
        return shown
    tiles = []
    for row in choose_rows(manifest, images).tolist():
        record = manifest[row]
        try:
            tiles.append(_tile(record, manifest))
        except DataError as error:
            shown.unreadable.append((record.image_id, error.problem))
    folder.mkdir(parents=True, exist_ok=True)
    with write_text(folder / f"{manifest.dataset}.json") as file:
        json.dump(shown.statistics, file, indent=2)
        file.write("\n")
    shown.written.append(folder / f"{manifest.dataset}.json")
    if tiles:
        shown.written.append(folder / f"{manifest.dataset}.png")
        contact_sheet(tiles, min(COLUMNS, len(tiles)), side=SIDE).save(shown.written[-1], optimize=True)
    return shown


def choose_rows(manifest: Manifest, number: int) -> NDArray[np.int64]:
    """Return rows for a sheet, sorted: class by class one that shows it, then some from all over."""
    holders = _holders(manifest)
    chosen: dict[int, None] = {}
    spread = np.linspace(0, len(manifest) - 1, num=min(number, len(manifest))).astype(np.int64)
    turns = max((len(rows) for rows in holders), default=0)
    for turn in range(min(number, turns)):
        for rows in holders:
            if turn < len(rows) and len(chosen) < number:
                chosen[int(rows[turn])] = None
    for row in spread.tolist():
        if len(chosen) < number:
            chosen[row] = None
    return np.sort(np.array(list(chosen), dtype=np.int64))


def _holders(manifest: Manifest) -> list[NDArray[np.int64]]:
    """Return, for every class that occurs, rows that show it; classes with boxes or masks first."""
    found = []
    for column, names in (("masks", manifest.classes.masks), ("boxes", manifest.classes.boxes)):
        lists = ragged(manifest.table, column)
        indices = np.asarray(lists.field("class_index"), dtype=np.int64)
        found += [np.unique(lists.rows[indices == at]) for at in range(len(names))]
    labels = label_matrix(manifest.table, len(manifest.classes.labels))
    found += [np.flatnonzero(labels[:, at] == 1) for at in range(labels.shape[1])]
    return [rows.astype(np.int64) for rows in found if len(rows)]


def _tile(record: Record, manifest: Manifest) -> Image.Image:
    """Draw one image with its boxes, masks and labels.

    Raises:
        DataError: the image or a mask can't be read.
    """
    pixels = to_uint8(read_pixels(manifest.root / record.image_path))
    height, width = (record.height, record.width) if record.width else pixels.shape
    frame = (width, height)
    matrix = letterbox_matrix(width, height, SIDE)
    classes = manifest.classes
    boxes = [
        (
            f"{classes.boxes[box.class_index]} {box.reader}",
            (
                box.x1 * matrix[0, 0] + matrix[0, 2],
                box.y1 * matrix[1, 1] + matrix[1, 2],
                box.x2 * matrix[0, 0] + matrix[0, 2],
                box.y2 * matrix[1, 1] + matrix[1, 2],
            ),
        )
        for box in record.boxes
    ]
    masks: list[tuple[str, NDArray[Any]]] = [
        (
            classes.masks[mask.class_index],
            letterbox(rasterise(mask, record, manifest.root), SIDE, aspect=frame, nearest=True),
        )
        for mask in record.masks
    ]
    return draw_overlay(letterbox(pixels, SIDE, aspect=frame), boxes=boxes, masks=masks, note=_note(record, manifest))


def _note(record: Record, manifest: Manifest) -> str:
    """Return what stands under a picture: image id, view, labels that are present or uncertain."""
    labels = dict(zip(manifest.classes.labels, record.labels, strict=False))
    present = [name for name, value in labels.items() if value == 1]
    uncertain = [f"{name}?" for name, value in labels.items() if value == -1]
    known = any(value in (0, 1, -1) for value in labels.values())
    words = ", ".join([*present, *uncertain]) or ("nothing present" if known else "no labels")
    return " ".join(filter(None, (record.image_id, record.view, "-", words)))
