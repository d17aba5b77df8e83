"""Building an image store: in chunks, each written whole, so that an interrupted build goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.data.columns import hash_table, ragged
from fx_monai.data.letterbox import letterbox
from fx_monai.data.manifest import Manifest, Record
from fx_monai.data.pixels import read_pixels, to_uint8
from fx_monai.data.rasterise import check_aspect, rasterise
from fx_monai.errors import ConfigError, DataError
from fx_monai.files import write_text
from fx_monai.ops.masks import encode_coco_rle

VERSION = "3"
CHUNK = 256

Progress = Callable[[int, int], None]

MASKS_SCHEMA = pa.schema([("row", pa.int64()), ("class_index", pa.int16()), ("counts", pa.string())])


def fingerprint_of(manifest: Manifest, size: int, bits: int) -> str:
    """Return a hash of everything a store depends on: the annotations and each file's size and time.

    Raises:
        ConfigError: neither 8 nor 16 bits.
    """
    if bits not in (8, 16):
        raise ConfigError(where="bits", problem=f"{bits}", expected="8 or 16", remedy="Correct the value")
    digest = hashlib.sha256(f"{VERSION} {size} {bits}".encode())
    masks = ragged(manifest.table, "masks").items
    masks = masks.filter(pc.starts_with(pc.struct_field(masks, "encoding"), "file"))
    named = pc.struct_field(masks, "data").to_pylist()
    mask_files = [json.loads(data)["path"] if data.startswith("{") else data for data in named]
    for paths in (*(chunk.to_pylist() for chunk in manifest.table.column("image_path").chunks), mask_files):
        _hash_file_times(paths, f"{manifest.root}/", digest)
    hash_table(manifest.table.select(["image_id", "image_path", "width", "height", "masks"]), digest)
    return digest.hexdigest()


def _hash_file_times(paths: Iterable[str], root: str, digest: Any) -> None:
    for path in paths:
        try:
            status = os.stat(root + path)
            digest.update(b"%d %d %d\n" % (status.st_size, status.st_mtime_ns, status.st_mode))
        except OSError:
            digest.update(b"missing\n")


def is_complete(place: Path, fingerprint: str) -> bool:
    """Return whether a folder is a whole store of this content."""
    about = place / "store.json"
    if not about.is_file():
        return False
    content = json.loads(about.read_text(encoding="utf-8"))
    return bool(content.get("version") == VERSION and content.get("fingerprint") == fingerprint)


def build(
    manifest: Manifest,
    place: Path,
    *,
    size: int,
    bits: int,
    fingerprint: str,
    workers: int,
    progress: Progress | None,
) -> None:
    """Build beside the place, then rename, so that a folder of the right name is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(place):
        # another process may have been faster
        if is_complete(place, fingerprint):
            return
        part = place.with_name(place.name + ".part")
        _StoreBuild(manifest, part, size, bits).run(workers, progress)
        about = {
            "version": VERSION,
            "size": size,
            "bits": bits,
            "dataset": manifest.dataset,
            "fingerprint": fingerprint,
            "unreadable": _finish(part, manifest),
        }
        with write_text(part / "store.json") as file:
            json.dump(about, file)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(part, place)
        shutil.rmtree(place / "chunks")


@dataclass(frozen=True)
class _Chunk:
    """What one chunk's file tells, beside its pixels in ``images.npy``."""

    masks: pa.Table
    checksums: list[int]
    unreadable: list[tuple[int, str, str]]

    @classmethod
    def read(cls, path: Path) -> _Chunk | None:
        try:
            table = pq.read_table(path)
            about = json.loads(table.schema.metadata[b"fx_monai"])
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            return None
        return cls(table.cast(MASKS_SCHEMA), about["checksums"], [tuple(item) for item in about["unreadable"]])

    def write(self, path: Path) -> None:
        about = json.dumps({"checksums": self.checksums, "unreadable": self.unreadable})
        temporary = path.with_suffix(".tmp")
        pq.write_table(self.masks.replace_schema_metadata({"fx_monai": about}), temporary)
        os.replace(temporary, path)


class _StoreBuild:
    """One build; its folder holds ``images.npy`` and a file per finished chunk."""

    def __init__(self, manifest: Manifest, folder: Path, size: int, bits: int) -> None:
        self.manifest, self.folder, self.size = manifest, folder, size
        self.dtype = np.uint8 if bits == 8 else np.uint16
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        pixels, shape = folder / "images.npy", (len(manifest), size, size)
        # the folder is named by content, so an older file of the same shape is an interrupted build of the same images
        mode = "r+" if _has_shape(pixels, shape, self.dtype) else "w+"
        self.images = np.lib.format.open_memmap(pixels, mode=mode, dtype=self.dtype, shape=shape)

    def run(self, workers: int, progress: Progress | None) -> None:
        total = len(self.manifest)
        with ThreadPoolExecutor(workers) as pool:
            for number, start in enumerate(range(0, total, CHUNK)):
                rows = range(start, min(start + CHUNK, total))
                path = _chunk_path(self.folder, number)
                if not self._is_done(path, rows):
                    self._fill(path, rows, pool, progress)
                elif progress:
                    progress(rows.stop, total)

    def _is_done(self, path: Path, rows: range) -> bool:
        chunk = _Chunk.read(path)
        return chunk is not None and chunk.checksums == [zlib.crc32(self.images[row].tobytes()) for row in rows]

    def _fill(self, path: Path, rows: range, pool: ThreadPoolExecutor, progress: Progress | None) -> None:
        checksums: list[int] = []
        unreadable: list[tuple[int, str, str]] = []
        masks: list[dict[str, Any]] = []
        for row, (reason, found) in zip(rows, pool.map(self._store, rows), strict=True):
            if reason:
                unreadable.append((row, self.manifest[row].image_id, reason))
            masks += found
            checksums.append(zlib.crc32(self.images[row].tobytes()))
            if progress:
                progress(row + 1, len(self.manifest))
        self.images.flush()
        _Chunk(pa.Table.from_pylist(masks, schema=MASKS_SCHEMA), checksums, unreadable).write(path)

    def _store(self, row: int) -> tuple[str, list[dict[str, Any]]]:
        """Write one image; return why it can't be used, and its masks."""
        record, root = self.manifest[row], self.manifest.root
        try:
            pixels = read_pixels(root / record.image_path)
            values = to_uint8(pixels) if self.dtype == np.uint8 else _to_uint16(pixels)
            check_aspect(values, (record.width, record.height), where=Path(record.image_path).name, what="image")
            self.images[row] = letterbox(values, self.size, aspect=(record.width, record.height))
            return "", [{"row": row, **mask} for mask in _store_masks(record, root, self.size)]
        except DataError as error:
            self.images[row] = 0
            return f"{error.where}: {error.problem}", []


def _store_masks(record: Record, root: Path, size: int) -> list[dict[str, Any]]:
    """Return the non-empty classes of a record as run lengths at store resolution."""
    by_class: dict[int, NDArray[np.uint8]] = {}
    for mask in record.masks:
        full = rasterise(mask, record, root)
        small = (letterbox(full * np.uint8(255), size, aspect=(record.width, record.height)) > 127).astype(np.uint8)
        by_class[mask.class_index] = np.maximum(by_class.get(mask.class_index, np.zeros_like(small)), small)
    return [
        {"class_index": index, "counts": encode_coco_rle(mask)["counts"]}
        for index, mask in by_class.items()
        if mask.any()
    ]


def _finish(part: Path, manifest: Manifest) -> list[tuple[int, str, str]]:
    """Bring the chunks together; return (row, image id, reason) of what can't be used."""
    paths = [_chunk_path(part, number) for number in range(-(-len(manifest) // CHUNK))]
    chunks = [chunk for chunk in map(_Chunk.read, paths) if chunk is not None]
    masks = pa.concat_tables([MASKS_SCHEMA.empty_table(), *(chunk.masks for chunk in chunks)])
    pq.write_table(masks, part / "masks.parquet")
    np.save(part / "checksums.npy", np.array([c for chunk in chunks for c in chunk.checksums], dtype=np.uint32))
    sizes = [np.asarray(manifest.table.column(name), dtype=np.int32) for name in ("width", "height")]
    np.save(part / "frames.npy", np.stack(sizes, axis=1))
    return [item for chunk in chunks for item in chunk.unreadable]


@contextmanager
def _only_builder(place: Path) -> Iterator[None]:
    """Wait until no other process builds this store."""
    # the file stays: whoever waits for it must not find another one under its name
    with place.with_name(f".{place.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _chunk_path(folder: Path, number: int) -> Path:
    return folder / "chunks" / f"{number:06d}.parquet"


def _has_shape(path: Path, shape: tuple[int, int, int], dtype: type) -> bool:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(array.shape == shape and array.dtype == dtype)


def _to_uint16(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """Return 16-bit values; 8-bit values are stretched so that full range stays full range."""
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * np.uint16(257)
