"""The image store: every image decoded once, letterboxed to the training size, memory-mapped; masks beside it."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.data.manifest import Manifest
from fx_monai.data.store_build import PIXELS, Progress, build, fingerprint_of, is_complete, place_of
from fx_monai.errors import DataError
from fx_monai.ops.affine import Matrix, letterbox_matrix
from fx_monai.ops.masks import MaskArray, decode_coco_rle

CACHE = "FX_MONAI_CACHE"

Stored = NDArray[np.uint8] | NDArray[np.uint16]


class ImageStore:
    """Images and masks of one manifest at one size; worker processes map the same files.

    Args:
        folder: a complete store; make one with :meth:`open_or_build`.

    Raises:
        DataError: a file of the store is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._open(folder)
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise DataError(
                where=str(folder),
                problem=f"the image store is damaged ({type(error).__name__})",
                expected="all files of a complete store",
                remedy="Remove the folder and build it again with `fx-monai cache`",
            ) from error

    def _open(self, folder: Path) -> None:
        about = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.size: int = about["size"]
        self.unreadable: list[tuple[str, str]] = [(image, reason) for _, image, reason in about["unreadable"]]
        self._tables: dict[str, int] = about["tables"]
        self._images: Stored = np.load(folder / PIXELS, mmap_mode="r")
        self._frames: NDArray[np.int32] = np.load(folder / "frames.npy", mmap_mode="r")
        masks = pq.read_table(folder / "masks.parquet", memory_map=True)
        # in the order of the rows, so that the masks of one row are found by bisection
        self._mask_rows = masks.column("row").to_numpy()
        self._mask_classes = masks.column("class_index").to_numpy()
        self._mask_counts = _Texts(masks.column("counts"))
        self.valid: NDArray[np.bool_] = np.ones(len(self._images), dtype=bool)
        self.valid[[row for row, _, _ in about["unreadable"]]] = False

    def __len__(self) -> int:
        return len(self._images)

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path]]:
        """Let worker processes map the files themselves: a pickled map would carry every pixel."""
        return ImageStore, (self.folder,)

    @classmethod
    def open_or_build(
        cls,
        manifest: Manifest,
        *,
        size: int,
        folder: Path,
        bits: int = 8,
        workers: int | None = None,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> ImageStore:
        """Open the store of a manifest, building it when it isn't there or the files have changed.

        A build that was interrupted goes on where it stopped. Of several processes one builds, the others wait.

        Args:
            manifest: what to store.
            size: side in pixels.
            folder: where stores are kept; each has a folder of its own, named by dataset, size and content.
            bits: 8 or 16 per pixel.
            workers: decoding processes; None = one per core that this process may use.
            skip_unreadable: leave out images that can't be read, instead of refusing.
            progress: called with (done, total) while decoding.

        Raises:
            DataError: images can't be read (all are listed, at most 5 shown), unless ``skip_unreadable``.
        """
        fingerprint = fingerprint_of(manifest, size, bits)
        place = place_of(manifest, folder, size, fingerprint)
        if not is_complete(place, fingerprint):
            about = {"size": size, "bits": bits, "fingerprint": fingerprint}
            build(manifest, place, about, workers=usable_cores() if workers is None else workers, progress=progress)
        store = cls(place)
        if store.unreadable and not skip_unreadable:
            shown = "; ".join(f"{image}: {reason}" for image, reason in store.unreadable[:5])
            raise DataError(
                where=f"{manifest.dataset}, images",
                problem=f"{len(store.unreadable)} of {len(manifest)} can't be used ({shown})",
                expected="readable images with the aspect of their annotations",
                remedy="Replace the files, or leave them out with data.skip_unreadable: true in the recipe",
            )
        return store

    @classmethod
    def open(cls, manifest: Manifest, *, size: int, folder: Path, bits: int = 8) -> ImageStore:
        """Open the store of a manifest as it was built; arguments as in :meth:`open_or_build`.

        Raises:
            DataError: it wasn't built, the image files have changed since, or it is damaged.
        """
        fingerprint = fingerprint_of(manifest, size, bits)
        place = place_of(manifest, folder, size, fingerprint)
        if not is_complete(place, fingerprint):
            raise DataError(
                where=f"{folder}, {manifest.dataset}",
                problem=f"no image store of {size} pixels and {bits} bits is there for the files as they are now",
                expected="a complete store",
                remedy="Build it with `fx-monai cache`",
            )
        return cls(place)

    @property
    def bits(self) -> int:
        """Bits per pixel, 8 or 16."""
        return int(self._images.dtype.itemsize) * 8

    @property
    def num_bytes(self) -> int:
        """Size of the pixels on disk."""
        return int(self._images.nbytes)

    def image(self, row: int) -> Stored:
        """Return the (size, size) image of a manifest row; a read-only view of the mapped file."""
        return self._images[row]

    def masks(self, row: int) -> list[tuple[int, MaskArray]]:
        """Return (class index, (size, size) mask) of the classes that are not empty in a manifest row."""
        first, last = np.searchsorted(self._mask_rows, [row, row + 1])
        side = [self.size, self.size]
        return [
            (int(self._mask_classes[at]), decode_coco_rle({"size": side, "counts": self._mask_counts[at]}))
            for at in range(first, last)
        ]

    def frame_to_store(self, row: int) -> Matrix:
        """Return the 2 x 3 matrix from pixels of the annotation frame to pixels of the store."""
        width, height = self._frames[row]
        return letterbox_matrix(int(width), int(height), self.size)

    def damaged_tables(self) -> list[str]:
        """Return the files beside the pixels whose content is not what was written."""
        return [name for name, crc in self._tables.items() if zlib.crc32((self.folder / name).read_bytes()) != crc]

    def damaged_rows(self, progress: Progress | None = None) -> list[int]:
        """Return the rows whose pixels are not what was written, by their checksums."""
        checksums = np.load(self.folder / "checksums.npy", mmap_mode="r")
        damaged = []
        for row in range(len(self)):
            if zlib.crc32(self._images[row].tobytes()) != checksums[row]:
                damaged.append(row)
            if progress:
                progress(row + 1, len(self))
        return damaged


class _Texts:
    """A column of strings as two arrays: processes that are forked from this one share them without Arrow's locks."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        # 64-bit offsets: the masks of a large dataset have more than 2 GB of text
        column = column.cast(pa.large_string()).combine_chunks()
        _, offsets, content = column.buffers()
        self._offsets = np.frombuffer(offsets, dtype=np.int64)[: len(column) + 1]
        self._content = np.frombuffer(content or b"", dtype=np.uint8)

    def __getitem__(self, at: int) -> str:
        return self._content[self._offsets[at] : self._offsets[at + 1]].tobytes().decode("ascii")


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Return where image stores are kept: the given folder, else ``FX_MONAI_CACHE``, else ``~/.cache/fx_monai``."""
    return cache_dir or Path(os.environ.get(CACHE) or Path.home() / ".cache" / "fx_monai")
