"""Which images belong together: the same patient, file or original image, in whichever dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fx_monai.data.exclusions import link_names
from fx_monai.data.manifest import Manifest


def linked_groups(manifests: Sequence[Manifest], links: pa.Table | None = None) -> NDArray[np.int64]:
    """Return the connected component of every row of all manifests, one after another, counted from 0.

    Args:
        manifests: whose rows.
        links: further images that belong together, see :func:`fx_monai.data.exclusions.read_links`.
    """
    # a chunk of its own each, so that long columns never become one array of more than 2 GB
    names = {
        "patient": pa.chunked_array([c for m in manifests for c in m.table.column("patient_id").chunks], pa.string()),
        "source": pa.chunked_array([c for m in manifests for c in m.table.column("source_image").chunks], pa.string()),
        "file": pa.chunked_array([chunk for m in manifests for chunk in image_files(m)], pa.string()),
    }
    if links is not None:
        names["link"] = pa.chunked_array([c for m in manifests for c in link_names(m, links).chunks], pa.string())
    size = sum(len(manifest) for manifest in manifests)
    rows, nodes = [], []
    for column in names.values():
        codes = column.dictionary_encode().combine_chunks() if len(column) else None
        if codes is None:
            continue
        known = np.asarray(pc.fill_null(pc.not_equal(column, ""), False))
        rows.append(np.flatnonzero(known))
        nodes.append(size + np.asarray(codes.indices)[known].astype(np.int64))
        size += len(codes.dictionary)
    empty = np.zeros(0, dtype=np.int64)
    ends = (np.concatenate([empty, *rows]), np.concatenate([empty, *nodes]))
    graph = coo_matrix((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return labels[: sum(len(manifest) for manifest in manifests)].astype(np.int64)


def image_files(manifest: Manifest) -> list[pa.Array]:
    """Return the real path of every image; links are followed, each folder is looked at once."""
    root = manifest.root.resolve()
    found = []
    for paths in manifest.table.column("image_path").chunks:
        folders = pc.replace_substring_regex(paths, "/?[^/]*$", "").dictionary_encode()
        names = pc.replace_substring_regex(paths, "^.*/", "")
        resolved = [_resolve(root / folder) for folder in folders.dictionary.to_pylist()]
        real = pa.array([folder for folder, _ in resolved], pa.string()).take(folders.indices)
        files = pc.binary_join_element_wise(real, names, "/")
        linked = [number for number, (_, links) in enumerate(resolved) if links]
        if linked:
            files = files.to_pylist()
            for at in np.flatnonzero(np.isin(np.asarray(folders.indices), linked)).tolist():
                links = resolved[folders.indices[at].as_py()][1]
                files[at] = links.get(names[at].as_py(), files[at])
        found.append(pa.array(files, pa.string()) if linked else files)
    return found


def _resolve(folder: Path) -> tuple[str, dict[str, str]]:
    """Return a folder's real path and the real paths of the links in it."""
    real = os.path.realpath(folder)
    try:
        with os.scandir(real) as entries:
            return real, {entry.name: os.path.realpath(entry.path) for entry in entries if entry.is_symlink()}
    except OSError:
        return real, {}
