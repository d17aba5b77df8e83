"""Masks as a manifest encodes them, turned into pixels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from monai.transforms.transform import MapTransform

from fx_monai.data.manifest import Record
from fx_monai.data.rasterise import rasterise
from fx_monai.keys import FRAME, IMAGE_ID, MASKS, MASKS_ANNOTATED


class RasteriseMasksd(MapTransform):
    """Turn the list of encoded masks of an item (:class:`fx_monai.data.items.ManifestItems`) into (K, H, W) uint8.

    H and W are those of the annotation frame; pieces of one class are one mask. Un-annotated classes stay empty and are
    un-annotated in ``masks_annotated``.

    Args:
        root: folder that mask files are relative to, the manifest's root.

    Raises:
        DataError: (when called) a mask is damaged, or of another size than its image.
    """

    def __init__(self, root: Path | str) -> None:
        MapTransform.__init__(self, [MASKS])
        self.root = Path(root)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dict with ``masks`` as pixels."""
        width, height = data[FRAME]
        record = Record("items", str(data.get(IMAGE_ID, "")), "", int(width), int(height))
        masks = np.zeros((len(data[MASKS_ANNOTATED]), record.height, record.width), dtype=np.uint8)
        for mask in data[MASKS]:
            pixels = rasterise(mask, record, self.root)
            if pixels.shape != masks.shape[1:]:
                pixels = cv2.resize(pixels, (record.width, record.height), interpolation=cv2.INTER_NEAREST)
            masks[mask.class_index] |= pixels
        return {**data, MASKS: masks}
