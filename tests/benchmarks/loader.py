"""What a training sample costs: our store and transforms against MONAI, albumentations and torchvision, one thread.

OMP_NUM_THREADS=1 python -m tests.benchmarks.loader [ROUNDS]

Every pipeline makes a 512 px image with three boxes: decode and resize (or a read of the stored image), a random affine
map of image and boxes with one bilinear resampling, Gaussian noise, float32 in 0 to 1. The pipelines take turns in one
process and the least processor time of each counts, so that the ratios hold on a busy machine. "Training sample" is
what our loader hands out: besides the list above it varies gamma, contrast and brightness and makes a second view
(teacher). albumentations is for this benchmark alone (`pip install albumentations`); without it its line is left out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from fx_monai.data.dataset import TaskDataset, collate
from fx_monai.data.loader import TaskLoader
from fx_monai.data.manifest import Box, Classes, Manifest, Record
from fx_monai.data.store import ImageStore
from fx_monai.data.transforms import Augmentation, RandomGeometryd, RandomIntensity
from fx_monai.keys import BOX_LABELS, BOXES, IMAGE, TEACHER_IMAGE
from fx_monai.types import Kind, Task, TaskSpec
from tests.dicom_builder import dicom_file

SIDE, PNG_SIDE, DICOM_SHAPE = 512, 1024, (2500, 2048)
IMAGES, DICOMS = 12, 3
DEGREES, SCALE, SHIFT, NOISE = 7.0, 0.1, 0.05, 0.02
CORNERS = np.array([[100, 200, 300, 420], [500, 300, 800, 700], [620, 640, 700, 760]], np.float32)

Pipeline = Callable[[int], Any]


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Return a smooth image with fine noise, in 0 to 1: compresses about as well as a radiograph."""
    generator = np.random.default_rng(seed)
    coarse = generator.random((24, 24), dtype=np.float32)
    fine = generator.standard_normal((height, width), dtype=np.float32) * 0.012
    return (cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 0.8 + 0.1 + fine).clip(0, 1)


def write(root: Path) -> tuple[Manifest, list[Path], list[Path]]:
    """Write the image files; return the manifest of the PNG files, their paths, those of the DICOM files."""
    pngs = [root / f"{i}.png" for i in range(IMAGES)]
    dicoms = [root / f"{i}.dcm" for i in range(DICOMS)]
    for i, path in enumerate(pngs):
        Image.fromarray((picture(PNG_SIDE, PNG_SIDE, i) * 255).astype(np.uint8)).save(path)
    for i, path in enumerate(dicoms):
        dicom_file(path, (picture(*DICOM_SHAPE, i) * 4095).astype(np.uint16))
    boxes = [Box(*corners, class_index=i) for i, corners in enumerate(CORNERS.tolist())]
    records = [Record("d", p.stem, p.name, PNG_SIDE, PNG_SIDE, boxes=boxes, boxes_annotated=[0, 1, 2]) for p in pngs]
    classes = Classes(boxes=("a", "b", "c"))
    return Manifest.from_records(records, dataset="d", classes=classes, root=root), pngs, dicoms


def from_store(manifest: Manifest, store: ImageStore) -> dict[str, Pipeline]:
    """Return our pipelines: the same list as the others, and the whole training sample."""
    spec = TaskSpec(Task("d", Kind.LOCALIZATION), manifest.classes.boxes)
    rows = np.arange(len(manifest))
    strengths = {"rotation_deg": DEGREES, "scale": SCALE, "translate": SHIFT, "noise": NOISE}
    training = TaskDataset(manifest, store, spec, rows, augmentation=Augmentation(**strengths))
    alike = Augmentation(**strengths, brightness=0, contrast=0, gamma=0)
    geometry, intensity = RandomGeometryd(alike), RandomIntensity(alike)

    def same_list(i: int) -> Any:
        out = geometry({IMAGE: store.image(i), **training._annotations.of(i)})
        return torch.from_numpy(intensity(out[IMAGE])).float() / 255, out[BOXES]

    draws = iter(range(10**9))

    def sample(i: int) -> Any:
        out = training.sample(i, next(draws))
        return out[IMAGE].float() / 255, out[TEACHER_IMAGE].float() / 255, out[BOXES]

    return {"ours, same list": same_list, "ours, training sample": sample}


def monai_parts(high: float) -> tuple[Any, Any]:
    """Return MONAI's deterministic and random transforms, as its documentation puts them together."""
    from monai.transforms import (
        ApplyTransformToPointsd,
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        RandAffined,
        RandGaussianNoised,
        Resized,
        ScaleIntensityRanged,
    )

    fixed = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            ScaleIntensityRanged("image", 0, high, 0, 1, clip=True),
            Resized("image", (SIDE, SIDE), mode="bilinear"),
        ]
    )
    random = Compose(
        [
            RandAffined(
                "image",
                prob=1.0,
                rotate_range=np.deg2rad(DEGREES),
                scale_range=SCALE,
                translate_range=SHIFT * SIDE,
                padding_mode="zeros",
            ),
            ApplyTransformToPointsd("points", refer_keys="image", invert_affine=True, affine_lps_to_ras=False),
            RandGaussianNoised("image", prob=1.0, std=NOISE),
        ]
    )
    return fixed, random


def monai_points(width: int, height: int) -> torch.Tensor:
    """Return the corners of the boxes, (1, 12, 2): x and y in pixels of the file (MONAI's readers put x first)."""
    x1, y1, x2, y2 = (CORNERS * np.array([width, height, width, height]) / PNG_SIDE).T
    return torch.from_numpy(
        np.stack([np.concatenate([x1, x2, x1, x2]), np.concatenate([y1, y1, y2, y2])], axis=1)[None]
    )


def monai_from_files(paths: Sequence[Path], high: float, size: tuple[int, int]) -> Pipeline:
    """Return the stock dictionary pipeline from files."""
    fixed, random = monai_parts(high)
    points = monai_points(*size)
    return lambda i: random(fixed({"image": str(paths[i % len(paths)]), "points": points}))


def monai_cached(paths: Sequence[Path]) -> Pipeline:
    """Return MONAI's random part on float MetaTensors that are held in memory (without CacheDataset's deep copy)."""
    fixed, random = monai_parts(255)
    points = monai_points(PNG_SIDE, PNG_SIDE)
    held = [fixed({"image": str(path), "points": points}) for path in paths]
    return lambda i: random(dict(held[i]))


def with_albumentations(store: ImageStore) -> Pipeline | None:
    """Return albumentations on the stored images, uint8 to the end, or None when it isn't installed."""
    try:
        import albumentations as alb
    except ImportError:
        return None
    chain = alb.Compose(
        [
            alb.Affine(
                rotate=(-DEGREES, DEGREES),
                scale=(1 - SCALE, 1 + SCALE),
                translate_percent=(-SHIFT, SHIFT),
                interpolation=cv2.INTER_LINEAR,
                p=1.0,
            ),
            alb.GaussNoise(std_range=(0.0, NOISE), p=1.0),
        ],
        bbox_params=alb.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=0.3),
    )
    corners = CORNERS * SIDE / PNG_SIDE

    def run(i: int) -> Any:
        out = chain(image=np.asarray(store.image(i)), bboxes=corners, labels=[0, 1, 2])
        return torch.from_numpy(out["image"]).float() / 255, out["bboxes"]

    return run


def with_torchvision(store: ImageStore) -> Pipeline:
    """Return torchvision v2 on the stored images, uint8 until the noise (which it has for uint8 too)."""
    chain = v2.Compose(
        [
            v2.RandomAffine(
                DEGREES, (SHIFT, SHIFT), (1 - SCALE, 1 + SCALE), interpolation=v2.InterpolationMode.BILINEAR
            ),
            v2.ClampBoundingBoxes(),
            v2.GaussianNoise(sigma=NOISE),
        ]
    )
    corners = torch.from_numpy(CORNERS * SIDE / PNG_SIDE)

    def run(i: int) -> Any:
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(SIDE, SIDE))
        image, boxes = chain(tv_tensors.Image(torch.from_numpy(np.array(store.image(i)))[None]), boxes)
        return image.float() / 255, boxes

    return run


def least_ms(pipelines: dict[str, Pipeline], rounds: int) -> dict[str, float]:
    """Return the least processor time per image of each pipeline, which take turns."""
    best = dict.fromkeys(pipelines, float("inf"))
    for number in range(rounds):
        for name, run in pipelines.items():
            for i in range(IMAGES):
                started = time.process_time()
                run(i)
                if number:  # the first round warms up
                    best[name] = min(best[name], (time.process_time() - started) * 1000)
    return best


def check_workers(manifest: Manifest, store: ImageStore) -> str:
    """Take batches from worker processes; return what travelled."""
    spec = TaskSpec(Task("d", Kind.LOCALIZATION), manifest.classes.boxes)
    dataset = TaskDataset(manifest, store, spec, np.arange(len(manifest)), augmentation=Augmentation())
    batch = next(TaskLoader(dataset, batch_size=4, seed=0, num_workers=2).batches(0, 1))
    assert collate([dataset[0]])[IMAGE].dtype == batch[IMAGE].dtype == batch[TEACHER_IMAGE].dtype == torch.uint8
    return f"{tuple(batch[IMAGE].shape)} {batch[IMAGE].dtype}, {len(batch[BOX_LABELS])} lists of boxes"


def main() -> None:
    """Print milliseconds per image and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        manifest, pngs, dicoms = write(Path(folder))
        assert pydicom.dcmread(dicoms[0]).pixel_array.shape == DICOM_SHAPE
        store = ImageStore.open_or_build(manifest, size=SIDE, folder=Path(folder) / "store")
        plain = np.memmap(store.folder / "images.npy", np.uint8, "r", offset=128, shape=(IMAGES, SIDE, SIDE))
        assert np.array_equal(plain[3], store.image(3))
        pipelines: dict[str, Pipeline | None] = {
            **from_store(manifest, store),
            "MONAI from 1024 px PNG": monai_from_files(pngs, 255, (PNG_SIDE, PNG_SIDE)),
            "MONAI from 2500 px raw DICOM": monai_from_files(dicoms, 4095, (DICOM_SHAPE[1], DICOM_SHAPE[0])),
            "MONAI random part, cached": monai_cached(pngs),
            "albumentations on our store": with_albumentations(store),
            "torchvision v2 on our store": with_torchvision(store),
        }
        times = least_ms({name: run for name, run in pipelines.items() if run}, rounds)
        reading = least_ms({"memmap": lambda i: np.array(plain[i]), "store": lambda i: np.array(store.image(i))}, 50)
        travelled = check_workers(manifest, store)
    goals = {"MONAI from 1024": 15, "MONAI from 2500": 50, "MONAI random": 6, "albument": 1.2, "torchvision": 1.2}
    same, whole = times["ours, same list"], times["ours, training sample"]
    print(f"{'':32s}{'ms/image':>10s}{'same list':>12s}{'training sample':>18s}")
    for name, value in times.items():
        goal = next((f"  goal {g:g}x" for start, g in goals.items() if name.startswith(start)), "")
        print(f"{name:32s}{value:10.2f}{value / same:11.1f}x{value / whole:17.1f}x{goal}")
    print(f"reading alone: {reading['store'] / reading['memmap']:.2f}x of a plain memmap copy (goal 1.5x or less)")
    print(f"through worker processes: {travelled}")


if __name__ == "__main__":
    main()
