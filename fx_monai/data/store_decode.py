"""Decoding for an image store: rows of a manifest, letterboxed and written in place, in several processes.

Processes, not threads: the decoder of JPEG 2000, the rasterising of polygons and much of pydicom hold Python's lock.
Processes of joblib, not forked ones: a fork copies the locks that Arrow's threads hold, and can wait for them for ever.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from fx_monai.data.letterbox import letterbox
from fx_monai.data.manifest import Manifest, Record
from fx_monai.data.pixels import read_pixels, to_uint8, to_uint16
from fx_monai.data.rasterise import check_aspect, rasterise
from fx_monai.errors import DataError
from fx_monai.ops.masks import encode_coco_rle

FEW = 32


@dataclass(frozen=True)
class Decoded:
    """What became of one row.

    Args:
        row: of the manifest.
        checksum: CRC-32 of the stored pixels.
        masks: class index and COCO run lengths of every class that isn't empty, at store resolution.
        problem: why the image can't be used, else "".
    """

    row: int
    checksum: int
    masks: tuple[tuple[int, str], ...] = ()
    problem: str = ""


Decode = Callable[[Iterable[int]], Iterator[Decoded]]


@contextmanager
def decoding(manifest: Manifest, pixels: Path, workers: int) -> Iterator[Decode]:
    """Yield a function that decodes rows into a file of pixels and tells of each, in their order.

    Args:
        manifest: what to decode.
        pixels: ``.npy`` file of (rows, S, S), uint8 or uint16, that exists.
        workers: processes; up to 1 = in this process, as are a few images: they are done before a process has started.

    Raises:
        DataError: a process died.
    """

    def tasks(rows: Iterable[int]) -> Iterator[tuple[int, Record, Path, Path]]:
        return ((row, manifest[row], manifest.root, pixels) for row in rows)

    if workers <= 1 or len(manifest) < FEW:
        yield lambda rows: (decode_record(*task) for task in tasks(rows))
        return
    try:
        with Parallel(n_jobs=workers, return_as="generator") as parallel:
            yield lambda rows: parallel(delayed(_decode_in_worker)(*task) for task in tasks(rows))
    except BrokenProcessPool as error:
        raise DataError(
            where=f"{manifest.dataset}, images",
            problem="a decoding process ended abruptly",
            expected=f"memory for {workers} images at once",
            remedy="Start again with fewer workers; it goes on where it stopped",
        ) from error


def decode_record(row: int, record: Record, root: Path, pixels: Path) -> Decoded:
    """Write one image into its place; an image that can't be used leaves zeros there."""
    cv2.setNumThreads(1)
    images = np.load(pixels, mmap_mode="r+")
    frame = (record.width, record.height)
    masks: tuple[tuple[int, str], ...] = ()
    problem = ""
    try:
        values = read_pixels(root / record.image_path)
        values = to_uint8(values) if images.dtype == np.uint8 else to_uint16(values)
        check_aspect(values, frame, where=Path(record.image_path).name, what="image")
        size = int(images.shape[-1])
        masks = _small_masks(record, root, size)
        images[row] = letterbox(values, size, aspect=frame)
    except DataError as error:
        images[row] = 0
        problem = f"{error.where}: {error.problem}"
    return Decoded(row, zlib.crc32(images[row].tobytes()), masks, problem)


def _decode_in_worker(row: int, record: Record, root: Path, pixels: Path) -> Decoded:
    _begin_worker()
    return decode_record(row, record, root, pixels)


@cache
def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it is gone (killed), instead of waiting for work for minutes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _small_masks(record: Record, root: Path, size: int) -> tuple[tuple[int, str], ...]:
    by_class: dict[int, NDArray[np.uint8]] = {}
    for mask in record.masks:
        full = rasterise(mask, record, root)
        small = (letterbox(full * np.uint8(255), size, aspect=(record.width, record.height)) > 127).astype(np.uint8)
        by_class[mask.class_index] = np.maximum(by_class.get(mask.class_index, np.zeros_like(small)), small)
    return tuple((index, encode_coco_rle(mask)["counts"]) for index, mask in by_class.items() if mask.any())
