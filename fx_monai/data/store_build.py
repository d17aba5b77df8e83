"""Building an image store: in chunks, each written whole, so that an interrupted build goes on where it stopped."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fx_monai.data.columns import hash_table, ragged
from fx_monai.data.manifest import Manifest
from fx_monai.data.store_decode import Decode, decoding
from fx_monai.errors import ConfigError, DataError
from fx_monai.files import write_text

# raised whenever files are read or resampled to other pixels
VERSION = "5"
CHUNK = 128
PIXELS = "images.npy"
# what is read whole when a store is opened
TABLES = ("masks.parquet", "frames.npy", "checksums.npy")

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


def place_of(manifest: Manifest, folder: Path, size: int, fingerprint: str) -> Path:
    """Return the folder of one store among others, named by dataset, size and content."""
    return folder / f"{manifest.dataset}_{size}_{fingerprint[:12]}"


def _hash_file_times(paths: Iterable[str], root: str, digest: Any) -> None:
    for path in paths:
        try:
            status = os.stat(root + path)
            digest.update(b"%d %d %d\n" % (status.st_size, status.st_mtime_ns, status.st_mode))
        except OSError:
            digest.update(b"missing\n")


def is_complete(place: Path, fingerprint: str) -> bool:
    """Return whether a folder is a whole store of this content."""
    try:
        content = json.loads((place / "store.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(content.get("version") == VERSION and content.get("fingerprint") == fingerprint)


def build(
    manifest: Manifest, place: Path, about: Mapping[str, Any], *, workers: int, progress: Progress | None
) -> None:
    """Build beside the place, then rename, so that a folder of the right name is whole.

    Args:
        manifest: what to store.
        place: folder of the store.
        about: ``size``, ``bits`` and ``fingerprint``.
        workers: decoding processes.
        progress: called with (done, total).
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(place):
        # another process may have been faster
        if is_complete(place, about["fingerprint"]):
            return
        part = place.with_name(place.name + ".part")
        _StoreBuild(manifest, part, about["size"], about["bits"]).run(workers, progress)
        about = {
            **about,
            "version": VERSION,
            "dataset": manifest.dataset,
            "unreadable": _finish(part, manifest),
            "tables": {name: zlib.crc32((part / name).read_bytes()) for name in TABLES},
        }
        with write_text(part / "store.json") as file:
            json.dump(about, file)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(part, place)
        shutil.rmtree(place / "chunks")


def repair(
    manifest: Manifest, place: Path, rows: Sequence[int], *, workers: int, progress: Progress | None = None
) -> list[int]:
    """Decode rows of a whole store again; return those whose pixels still aren't what was written first."""
    checksums = np.load(place / "checksums.npy")
    wrong = []
    with _only_builder(place), decoding(manifest, place / PIXELS, workers) as decode:
        for done, found in enumerate(decode(rows), start=1):
            if found.checksum != checksums[found.row]:
                wrong.append(found.row)
            if progress:
                progress(done, len(rows))
    return wrong


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
        self.manifest, self.folder = manifest, folder
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        self.pixels = folder / PIXELS
        reserve(self.pixels, (len(manifest), size, size), np.uint8 if bits == 8 else np.uint16)
        self.images = np.load(self.pixels, mmap_mode="r+")

    def run(self, workers: int, progress: Progress | None) -> None:
        total = len(self.manifest)
        with decoding(self.manifest, self.pixels, workers) as decode:
            for number, start in enumerate(range(0, total, CHUNK)):
                rows = range(start, min(start + CHUNK, total))
                path = _chunk_path(self.folder, number)
                if not self._is_done(path, rows):
                    self._fill(path, rows, decode, progress)
                elif progress:
                    progress(rows.stop, total)

    def _is_done(self, path: Path, rows: range) -> bool:
        chunk = _Chunk.read(path)
        return chunk is not None and chunk.checksums == [zlib.crc32(self.images[row].tobytes()) for row in rows]

    def _fill(self, path: Path, rows: range, decode: Decode, progress: Progress | None) -> None:
        checksums: list[int] = []
        unreadable: list[tuple[int, str, str]] = []
        masks: list[dict[str, Any]] = []
        for found in decode(rows):
            if found.problem:
                unreadable.append((found.row, self.manifest[found.row].image_id, found.problem))
            masks += [{"row": found.row, "class_index": index, "counts": counts} for index, counts in found.masks]
            checksums.append(found.checksum)
            if progress:
                progress(found.row + 1, len(self.manifest))
        self.images.flush()
        _Chunk(pa.Table.from_pylist(masks, schema=MASKS_SCHEMA), checksums, unreadable).write(path)


def reserve(path: Path, shape: tuple[int, int, int], dtype: type) -> None:
    """Make a ``.npy`` file of the shape with all of its disk space; one of the same shape keeps its content.

    Raises:
        DataError: the disk hasn't the space.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    # the folder is named by content, so an older file of the same shape is an interrupted build of the same images
    exists = _has_shape(path, shape, dtype)
    held = path.stat().st_blocks * 512 if exists else 0
    free = shutil.disk_usage(path.parent).free
    if needed - held > free:
        raise _no_space(path.parent, needed - held, free)
    if not exists:
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        try:
            # a disk that fills up later would end the process at a write into the mapped file
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise _no_space(path.parent, needed - held, free) from error


def _no_space(folder: Path, needed: int, free: int) -> DataError:
    return DataError(
        where=str(folder.parent),
        problem=f"the images need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free",
        expected="enough space for every image at the size that is asked for",
        remedy="Free some space, take another folder (--folder or FX_MONAI_CACHE), or a smaller size",
    )


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
