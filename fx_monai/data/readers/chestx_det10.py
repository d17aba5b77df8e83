"""ChestX-Det10: the images and splits of ChestX-Det with 10 of its classes, without polygons."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes
from fx_monai.data.readers import chestx_det
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.spec import DatasetSpec
from fx_monai.types import Kind

_LEFT_OUT = ("Cardiomegaly", "Diffuse Nodule", "Pleural Thickening")
CLASSES = tuple(label for label in chestx_det.CLASSES if label not in _LEFT_OUT)

SPECS = (
    DatasetSpec(
        name="chestx_det10",
        title="ChestX-Det10",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="annotations Apache-2.0, images NIH",
        url="https://github.com/Deepwise-AILab/ChestX-Det10-Dataset",
        citation="Liu et al., ChestX-Det10: Chest X-ray Dataset on Detection of Thoracic Abnormalities, arXiv 2020",
        classes=Classes(labels=CLASSES, boxes=CLASSES),
    ),
)

OPTIONS: tuple[str, ...] = ()


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read ``train.json`` and ``test.json``; every image is known as the one of ChestX-Det with the same name."""
    return chestx_det.read_lists(root, name=name, prefix="", classes=CLASSES, with_masks=False)
