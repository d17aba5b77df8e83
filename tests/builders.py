"""Tiny data sets and recipes, made on the spot."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.ops.masks import encode_coco_rle

SIDE = 64


def tiny_manifest(root: Path, *, name: str = "tiny", count: int = 12, seed: int = 0) -> Manifest:
    """Return squares on noise: label = there is one, box and mask = where; two images per patient."""
    generator = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(count):
        image = generator.normal(90, 12, (SIDE, SIDE))
        positive = number % 2 == 0
        boxes, masks = [], []
        if positive:
            x, y = generator.integers(4, SIDE - 24, 2)
            image[y : y + 18, x : x + 18] += 90
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[y : y + 18, x : x + 18] = 1
            boxes = [Box(float(x), float(y), float(x + 18), float(y + 18), 0)]
            masks = [Mask(0, "coco_rle", json.dumps(encode_coco_rle(mask)))]
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number:03d}.png")
        records.append(
            Record(
                dataset=name,
                image_id=f"{number:03d}",
                image_path=f"images/{number:03d}.png",
                width=SIDE,
                height=SIDE,
                patient_id=f"{name}:{number // 2}",
                view="PA" if number % 3 else "AP",
                labels=[float(positive), float("nan")],
                boxes=boxes,
                boxes_annotated=[0],
                masks=masks,
                masks_annotated=[0],
            )
        )
    classes = Classes(labels=("square", "unknown"), boxes=("square",), masks=("square",))
    return Manifest.from_records(records, dataset=name, classes=classes, root=root)


def picture(path: Path, size: tuple[int, int] = (32, 32), *, mode: str = "L") -> Path:
    """Write a grey picture of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 50).convert(mode).save(path)
    return path


def metaimage(path: Path, pixels: np.ndarray, *, compressed: bool = False, **fields: object) -> Path:
    """Write a MetaImage with the pixels inside; ``fields`` replace header lines."""
    kinds = {"u1": "MET_UCHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "f4": "MET_FLOAT"}
    header = {
        "ObjectType": "Image",
        "NDims": 2,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": compressed,
        "DimSize": f"{pixels.shape[1]} {pixels.shape[0]}",
        "ElementType": kinds[pixels.dtype.str[1:]],
        **fields,
        "ElementDataFile": "LOCAL",
    }
    data = zlib.compress(pixels.tobytes()) if compressed else pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{key} = {value}\n" for key, value in header.items()).encode() + data)
    return path


def coco_folder(root: Path, *, count: int = 10, seed: int = 0) -> Path:
    """Write images and a COCO file with one square each."""
    generator = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        image = generator.normal(90, 12, (SIDE, SIDE))
        x, y = (int(v) for v in generator.integers(4, SIDE - 24, 2))
        image[y : y + 18, x : x + 18] += 90
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE, "patient_id": number})
        outline = [x, y, x + 18, y, x + 18, y + 18, x, y + 18]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 18, 18], "segmentation": [outline]}
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def csv_folder(root: Path, *, count: int = 10, columns: Sequence[str] = ("bright",), seed: int = 1) -> Path:
    """Write images and a table of labels."""
    generator = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        value = number % 2
        image = generator.normal(60 + 80 * value, 10, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        rows.append({"image": f"{number}.png", "patient_id": f"p{number}", **dict.fromkeys(columns, value)})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


def tiny_recipe(path: Path, **changes: object) -> Path:
    """Write a recipe on a COCO folder and a CSV folder; changes by dotted key."""
    import yaml

    content: dict[str, object] = {
        "name": "tiny",
        "datasets": {
            "coco": {"root": "coco", "tasks": ["localization", "segmentation"]},
            "csv": {"root": "csv", "tasks": ["classification"]},
        },
        "data": {"split": {"train": 0.6, "val": 0.2, "test": 0.2}},
        "model": {
            "image_size": 64,
            "backbone": {"pretrained": "none"},
            "localization": {"num_queries": 10, "width": 32, "heads": 4, "feedforward": 32},
            "segmentation": {"width": 16},
        },
        "schedule": {"cycles": 2, "batch_size": 4},
        "optimiser": {"warmup_steps": 2},
        "evaluation": {"resamples": 20},
    }
    for key, value in changes.items():
        node = content
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})  # type: ignore[assignment]
        node[last] = value
    path.write_text(yaml.safe_dump(content))
    return path


def tiny_data_root(root: Path) -> Path:
    """Write the data of :func:`tiny_recipe`."""
    coco_folder(root / "coco")
    csv_folder(root / "csv")
    return root
