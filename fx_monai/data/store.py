"""The image store: every image decoded once, letterboxed to the training size, memory-mapped; masks beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest, Record
from fx_monai.data.pixels import read_pixels, to_uint8
from fx_monai.data.rasterise import check_aspect, rasterise
from fx_monai.data.transforms import Matrix, letterbox_matrix, warp
from fx_monai.errors import DataError
from fx_monai.ops.masks import MaskArray, decode_coco_rle, encode_coco_rle

VERSION = "2"

Progress = Callable[[int, int], None]


class ImageStore:
    """Images and masks of one manifest at one size.

    Args:
        folder: a complete store; make one with :meth:`open_or_build`.
        manifest: the manifest it was built from.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        about = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        self.folder, self.manifest = folder, manifest
        self.size: int = about["size"]
        self.unreadable: list[tuple[str, str]] = [(image, reason) for image, reason in about["unreadable"]]
        self._images: NDArray[np.uint8] = np.load(folder / "images.npy", mmap_mode="r")
        masks = pq.read_table(folder / "masks.parquet", memory_map=True)
        # in the order of the rows, so that the masks of one row are found by bisection
        self._mask_rows = masks.column("row").to_numpy()
        self._mask_classes = masks.column("class_index").to_numpy()
        self._mask_counts = masks.column("counts")
        bad = {image for image, _ in self.unreadable}
        ids = manifest.column("image_id")
        self.valid: NDArray[np.bool_] = np.array([image not in bad for image in ids], dtype=bool)
        self._widths = manifest.table.column("width").to_numpy()
        self._heights = manifest.table.column("height").to_numpy()

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path, Manifest]]:
        """Let worker processes map the files themselves: a pickled map would carry every pixel."""
        return ImageStore, (self.folder, self.manifest)

    @classmethod
    def open_or_build(
        cls,
        manifest: Manifest,
        *,
        size: int,
        folder: Path,
        workers: int = 2,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> ImageStore:
        """Open the store of a manifest, building it when it isn't there or the files have changed.

        Args:
            manifest: what to store.
            size: side in pixels.
            folder: where stores are kept; each has a folder of its own, named by dataset, size and content.
            workers: decoding threads.
            skip_unreadable: leave out images that can't be read, instead of refusing.
            progress: called with (done, total) while decoding.

        Raises:
            DataError: images can't be read (all are listed, at most 5 shown), unless ``skip_unreadable``.
        """
        fingerprint = _fingerprint(manifest, size)
        place = folder / f"{manifest.dataset}_{size}_{fingerprint[:12]}"
        if not _is_complete(place, fingerprint):
            _build(manifest, size, place, fingerprint, workers, progress)
        store = cls(place, manifest)
        if store.unreadable and not skip_unreadable:
            shown = "; ".join(f"{image}: {reason}" for image, reason in store.unreadable[:5])
            raise DataError(
                where=f"{manifest.dataset}, images",
                problem=f"{len(store.unreadable)} of {len(manifest)} can't be used ({shown})",
                expected="readable images with the aspect of their annotations",
                remedy="Replace the files, or leave them out with data.skip_unreadable: true in the recipe",
            )
        return store

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return the (size, size) image of a manifest row; a read-only view of the mapped file."""
        return self._images[row]

    def masks(self, row: int) -> list[tuple[int, MaskArray]]:
        """Return (class index, (size, size) mask) of the classes that are not empty in a manifest row."""
        first, last = np.searchsorted(self._mask_rows, [row, row + 1])
        side = [self.size, self.size]
        return [
            (int(self._mask_classes[at]), decode_coco_rle({"size": side, "counts": self._mask_counts[at].as_py()}))
            for at in range(first, last)
        ]

    def frame_to_store(self, row: int) -> Matrix:
        """Return the 2 x 3 matrix from pixels of the annotation frame to pixels of the store."""
        return letterbox_matrix(int(self._widths[row]), int(self._heights[row]), self.size)


def _fingerprint(manifest: Manifest, size: int) -> str:
    """Return a hash of everything the store depends on: the annotations and each file's size and time."""
    digest = hashlib.sha256(f"{VERSION} {size}".encode())
    masks = [m["data"] for row in manifest.column("masks") for m in row if m["encoding"].startswith("file")]
    mask_files = [json.loads(data)["path"] if data.startswith("{") else data for data in masks]
    for path in (*manifest.column("image_path"), *mask_files):
        try:
            status = os.stat(manifest.root / path)
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_mode}\n".encode())
        except OSError:
            digest.update(f"{path} missing\n".encode())
    for name in ("image_id", "width", "height", "masks"):
        digest.update(json.dumps(manifest.column(name)).encode())
    return digest.hexdigest()


def _is_complete(place: Path, fingerprint: str) -> bool:
    about = place / "store.json"
    return about.is_file() and json.loads(about.read_text(encoding="utf-8")).get("fingerprint") == fingerprint


def _build(
    manifest: Manifest, size: int, place: Path, fingerprint: str, workers: int, progress: Progress | None
) -> None:
    """Build beside the place, then rename, so that a folder of the right name is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(place.name + f".part{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        unreadable = _fill(manifest, size, temporary, workers, progress)
        about = {
            "version": VERSION,
            "size": size,
            "dataset": manifest.dataset,
            "fingerprint": fingerprint,
            "unreadable": unreadable,
        }
        (temporary / "store.json").write_text(json.dumps(about), encoding="utf-8")
        # another process may have been faster; its readers keep their files
        if not _is_complete(place, fingerprint):
            shutil.rmtree(place, ignore_errors=True)
            os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(
    manifest: Manifest, size: int, folder: Path, workers: int, progress: Progress | None
) -> list[tuple[str, str]]:
    """Write images and masks; return (image id, reason) of what can't be used."""
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(len(manifest), size, size)
    )

    def store(row: int) -> tuple[str, list[dict[str, Any]]]:
        try:
            record = manifest[row]
            images[row] = _load(record, manifest.root, size)
            return "", [{"row": row, **mask} for mask in _store_masks(record, manifest.root, size)]
        except DataError as error:
            return f"{error.where}: {error.problem}", []

    unreadable: list[tuple[str, str]] = []
    masks: list[dict[str, Any]] = []
    ids = manifest.column("image_id")
    with ThreadPoolExecutor(workers) as pool:
        for row, (reason, found) in enumerate(pool.map(store, range(len(manifest)))):
            if reason:
                unreadable.append((ids[row], reason))
            masks += found
            if progress:
                progress(row + 1, len(manifest))
    images.flush()
    schema = pa.schema([("row", pa.int64()), ("class_index", pa.int16()), ("counts", pa.string())])
    pq.write_table(pa.Table.from_pylist(masks, schema=schema), folder / "masks.parquet")
    return unreadable


def _load(record: Record, root: Path, size: int) -> NDArray[np.uint8]:
    pixels = to_uint8(read_pixels(root / record.image_path))
    check_aspect(pixels, (record.width, record.height), where=Path(record.image_path).name, what="image")
    return letterbox(pixels, size, aspect=(record.width, record.height))


def letterbox(
    pixels: NDArray[Any], size: int, *, aspect: tuple[int, int] | None = None, nearest: bool = False
) -> NDArray[Any]:
    """Fit an image into a square of the given side, centred, aspect kept, padded with 0.

    Args:
        pixels: (H, W).
        size: side in pixels.
        aspect: (width, height) of the frame the image is a copy of; default: the image's own.
        nearest: nearest neighbour instead of area averaging (masks).
    """
    height, width = pixels.shape
    frame_width, frame_height = aspect or (width, height)
    matrix = letterbox_matrix(frame_width, frame_height, size)
    matrix[0, 0] *= frame_width / width
    matrix[1, 1] *= frame_height / height
    if not nearest and matrix[0, 0] < 1:
        # average over the source pixels first, so that nothing is missed; the rest is a sub-pixel shift
        small = cv2.resize(
            pixels,
            (max(1, round(width * matrix[0, 0])), max(1, round(height * matrix[1, 1]))),
            interpolation=cv2.INTER_AREA,
        )
        matrix[0, 0] *= width / small.shape[1]
        matrix[1, 1] *= height / small.shape[0]
        pixels = small
    return warp(pixels, matrix, (size, size))


def _store_masks(record: Record, root: Path, size: int) -> list[dict[str, Any]]:
    """Return the non-empty classes of a record as run lengths at store resolution."""
    by_class: dict[int, MaskArray] = {}
    for mask in record.masks:
        full = rasterise(mask, record, root)
        small = (letterbox(full * np.uint8(255), size, aspect=(record.width, record.height)) > 127).astype(np.uint8)
        by_class[mask.class_index] = np.maximum(by_class.get(mask.class_index, np.zeros_like(small)), small)
    return [
        {"class_index": index, "counts": encode_coco_rle(mask)["counts"]}
        for index, mask in by_class.items()
        if mask.any()
    ]
