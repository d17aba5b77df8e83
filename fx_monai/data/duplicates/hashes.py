"""Hash and thumbnail of every image of a manifest, kept in the cache so that a file is decoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fx_monai.data.duplicates.thumbnail import SIDE, pixel_hash, rank_thumbnail
from fx_monai.data.manifest import Manifest
from fx_monai.data.pixels import read_pixels
from fx_monai.errors import DataError

VERSION = "1"
CHUNK = 512
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("file_size", pa.int64()),
        ("modified_ns", pa.int64()),
        ("pixels", pa.string()),
        ("thumbnail", pa.binary(SIDE * SIDE)),
        ("problem", pa.string()),
    ]
)
_NOTHING = b"\0" * (SIDE * SIDE)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Hashes:
    """One entry per row of a manifest.

    Args:
        pixels: hash of the decoded pixels, "" when the file can't be read.
        thumbnails: (n, 64, 64) ranks of the grey values; 0 when the file can't be read.
        problems: row and reason of the files that can't be read.
    """

    pixels: pa.ChunkedArray
    thumbnails: NDArray[np.uint8]
    problems: tuple[tuple[int, str], ...] = ()


def hash_images(manifest: Manifest, folder: Path, *, workers: int = 2, progress: Progress | None = None) -> Hashes:
    """Return hashes and thumbnails, from the cache where a file's size and time haven't changed.

    What is computed is stored every 512 images, so an interrupted run goes on where it stopped.

    Args:
        manifest: which images.
        folder: of the cache; the hashes of a dataset and root have one sub-folder.
        workers: decoding threads.
        progress: called with (done, total) images.
    """
    root = hashlib.sha256(f"{VERSION} {manifest.root.resolve()}".encode()).hexdigest()[:12]
    place = folder / f"{manifest.dataset}_hashes_{root}"
    paths = [path for chunk in manifest.table.column("image_path").chunks for path in chunk.to_pylist()]
    states = [_state(manifest.root / path) for path in paths]
    known = _read(place)
    keys = zip(*(known.column(name).to_pylist() for name in SCHEMA.names[:3]), strict=True)
    number_of = {key: number for number, key in enumerate(keys)}
    found = np.array([number_of.get((path, *state), -1) for path, state in zip(paths, states, strict=True)])
    missing = np.flatnonzero(found < 0)
    parts = [known]
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(missing), CHUNK):
            rows = missing[start : start + CHUNK].tolist()
            hashed = pool.map(lambda row: _hash(manifest.root, paths[row], states[row]), rows)
            part = pa.Table.from_pylist(list(hashed), schema=SCHEMA)
            _write(part, place)
            found[rows] = sum(map(len, parts)) + np.arange(len(rows))
            parts.append(part)
            if progress:
                progress(len(paths) - len(missing) + start + len(rows), len(paths))
    table = pa.concat_tables(parts).take(pa.array(found))
    images = [np.frombuffer(c.buffers()[1], np.uint8)[c.offset * SIDE**2 :] for c in table.column("thumbnail").chunks]
    problems = table.column("problem").to_pylist()
    return Hashes(
        table.column("pixels"),
        np.concatenate([np.zeros(0, np.uint8), *images])[: len(paths) * SIDE**2].reshape(-1, SIDE, SIDE),
        tuple((row, reason) for row, reason in enumerate(problems) if reason),
    )


def _state(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _hash(root: Path, path: str, state: tuple[int, int]) -> dict[str, object]:
    row = {"path": path, "file_size": state[0], "modified_ns": state[1]}
    try:
        pixels = read_pixels(root / path)
    except DataError as error:
        return {**row, "pixels": "", "thumbnail": _NOTHING, "problem": error.problem}
    return {**row, "pixels": pixel_hash(pixels), "thumbnail": rank_thumbnail(pixels).tobytes(), "problem": ""}


def _read(place: Path) -> pa.Table:
    parts = [SCHEMA.empty_table()]
    for path in sorted(place.glob("*.parquet")):
        try:
            parts.append(pq.read_table(path, schema=SCHEMA))
        except (pa.ArrowException, OSError):
            # a damaged part is computed again
            path.unlink(missing_ok=True)
    return pa.concat_tables(parts)


def _write(part: pa.Table, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.stem) for path in place.glob("*.parquet")), default=-1)
    temporary = place / f"{number:06d}.{os.getpid()}.part"
    pq.write_table(part, temporary, compression="zstd")
    os.replace(temporary, place / f"{number:06d}.parquet")
