"""Pairs of rows that show one picture, in whichever dataset, and what tells so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fx_monai.data.duplicates.hashes import Hashes
from fx_monai.data.duplicates.search import Progress, find_copies
from fx_monai.data.groups import image_files
from fx_monai.data.manifest import Manifest

# the strongest first
EVIDENCE = ("origin", "file", "pixels", "looks")
ORIGIN, FILE, PIXELS, LOOKS = range(4)
# images of one patient, taken one after the other, look alike; they stay on one side of a split anyway
SAME_PATIENT_SIMILARITY = 0.93

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SameImages:
    """Pairs of rows, counted over all manifests one after another.

    Args:
        first: the row that comes first.
        second: the other row.
        evidence: index into :data:`EVIDENCE`.
        similarity: correlation of the fine structure; 1 for what isn't compared by its looks.
        mirrored: the one is the other's mirror image.
        inverted: the one is the other's negative.
    """

    first: Rows
    second: Rows
    evidence: NDArray[np.int64]
    similarity: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    inverted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def components(self, number: int) -> Rows:
        """Return the connected component of every row, (number,)."""
        graph = coo_matrix((np.ones(len(self), dtype=np.int8), (self.first, self.second)), shape=(number, number))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def same_images(
    manifests: Sequence[Manifest], hashes: Mapping[str, Hashes], *, progress: Progress | None = None
) -> SameImages:
    """Find the rows that share the declared original, the file, the exact pixels, or the looks.

    Args:
        manifests: whose rows.
        hashes: by dataset name; a dataset without is compared by origin and file alone.
        progress: of the comparison by looks.
    """
    columns = {
        ORIGIN: [chunk for m in manifests for chunk in m.table.column("source_image").chunks],
        FILE: [chunk for m in manifests for chunk in image_files(m)],
        PIXELS: [chunk for m in manifests for chunk in _pixels(m, hashes)],
    }
    found = []
    for evidence, chunks in columns.items():
        first, second = _pairs_by_key(pa.chunked_array(chunks, pa.string()))
        found.append(_table(first, second, evidence))
    found.append(_by_looks(manifests, hashes, columns[PIXELS], progress))
    rows = np.concatenate(found)
    # one row per pair: the strongest evidence
    rows = rows[np.lexsort((rows["evidence"], rows["second"], rows["first"]))]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows["first"][1:] != rows["first"][:-1]) | (rows["second"][1:] != rows["second"][:-1])
    return SameImages(*(np.ascontiguousarray(rows[new][name]) for name in _ROW.names or ()))


_ROW = np.dtype(
    [("first", "i8"), ("second", "i8"), ("evidence", "i8"), ("similarity", "f4"), ("mirrored", "?"), ("inverted", "?")]
)


def _table(first: Rows, second: Rows, evidence: int) -> NDArray[np.void]:
    rows = np.zeros(len(first), dtype=_ROW)
    rows["first"], rows["second"], rows["evidence"], rows["similarity"] = first, second, evidence, 1
    return rows


def _pairs_by_key(keys: pa.ChunkedArray) -> tuple[Rows, Rows]:
    """Return, for every row whose key stood before, the first row of that key and the row."""
    if not len(keys):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    known = np.flatnonzero(np.asarray(pc.fill_null(pc.not_equal(keys, ""), False)))
    codes = np.asarray(keys.dictionary_encode().combine_chunks().indices.fill_null(0))[known]
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    earliest = known[first[inverse]]
    again = earliest != known
    return earliest[again].astype(np.int64), known[again].astype(np.int64)


def _pixels(manifest: Manifest, hashes: Mapping[str, Hashes]) -> list[pa.Array]:
    if manifest.dataset in hashes:
        return list(hashes[manifest.dataset].pixels.chunks)
    return [pa.array([""] * len(manifest), pa.string())]


def _by_looks(
    manifests: Sequence[Manifest],
    hashes: Mapping[str, Hashes],
    pixels: Sequence[pa.Array],
    progress: Progress | None,
) -> NDArray[np.void]:
    """Compare one image of each pixel hash with all others."""
    keys = pa.chunked_array(pixels, pa.string())
    repeated = np.zeros(len(keys), dtype=bool)
    repeated[_pairs_by_key(keys)[1]] = True
    seen = np.asarray(pc.fill_null(pc.not_equal(keys, ""), False)) & ~repeated
    starts = np.cumsum([0, *(len(manifest) for manifest in manifests)])
    parts = [
        hashes[m.dataset].thumbnails[seen[start : start + len(m)]]
        for m, start in zip(manifests, starts[:-1], strict=True)
        if m.dataset in hashes
    ]
    if not parts:
        return np.zeros(0, dtype=_ROW)
    rows = np.flatnonzero(seen).astype(np.int64)
    pairs = find_copies(np.concatenate(parts), progress=progress)
    found = _table(rows[pairs.first], rows[pairs.second], LOOKS)
    found["similarity"], found["mirrored"], found["inverted"] = pairs.similarity, pairs.mirrored, pairs.inverted
    return found[~_one_patient(manifests, found) | (found["similarity"] >= SAME_PATIENT_SIMILARITY)]


def _one_patient(manifests: Sequence[Manifest], rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return whether both rows of a pair are known to be of one patient."""
    patients = pa.chunked_array([c for m in manifests for c in m.table.column("patient_id").chunks], pa.string())
    first, second = (patients.take(pa.array(rows[name])) for name in ("first", "second"))
    return np.asarray(pc.fill_null(pc.and_(pc.equal(first, second), pc.not_equal(first, "")), False))
