"""Cost of opening a manifest of a million rows for training: seconds and memory, two workers included.

python tests/benchmarks/million_rows.py [ROWS]

The same steps with a manifest of 64 rows are the baseline: a fresh process each opens the manifest, divides the
patients, opens the image store (its pixels are a sparse file) and takes a batch from a loader with two workers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

SIDE = 32
LABELS = tuple(f"finding {number}" for number in range(14))


def write(folder: Path, rows: int) -> None:
    """Write a manifest with a patient per three images and a store whose pixels are never written."""
    from fx_monai.data.manifest import SCHEMA, Classes, Manifest
    from fx_monai.data.store_build import VERSION, fingerprint_of

    generator = np.random.default_rng(0)
    labels = generator.choice(np.float32([0, 1, -1, np.nan]), rows * len(LABELS), p=[0.4, 0.1, 0.05, 0.45])
    ids = [f"{i // 100:06d}_{i % 100:03d}.png" for i in range(rows)]
    fixed = {
        "dataset": ["big"] * rows,
        "image_id": ids,
        "image_path": [f"images_{i % 1000:03d}/{name}" for i, name in enumerate(ids)],
        "patient_id": [f"big:{i // 3}" for i in range(rows)],
        "view": ["PA"] * rows,
        "width": np.full(rows, 1024),
        "height": np.full(rows, 1024),
        "labels": pa.ListArray.from_arrays(np.arange(rows + 1) * len(LABELS), labels),
    }
    empty = {"source_image": "", "split": "", "study_id": "", "sex": "", "sha256": ""}
    columns = []
    for field in SCHEMA:
        if field.name in fixed:
            columns.append(pa.array(fixed[field.name]).cast(field.type))
        elif field.name in empty:
            columns.append(pa.array([""] * rows, field.type))
        elif pa.types.is_list(field.type):
            nothing = pa.array([], field.type.value_type)
            columns.append(pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), nothing).cast(field.type))
        else:
            columns.append(pa.nulls(rows, field.type))
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    manifest = Manifest(table, dataset="big", classes=Classes(labels=LABELS), root=folder / "images")
    (folder / "images").mkdir(parents=True)
    manifest.write(folder / "big.parquet")
    fingerprint = fingerprint_of(Manifest.read(folder / "big.parquet"), SIDE, 8)
    place = folder / f"big_{SIDE}_{fingerprint[:12]}"
    place.mkdir()
    np.lib.format.open_memmap(place / "images.npy", "w+", np.uint8, (rows, SIDE, SIDE)).flush()
    np.save(place / "frames.npy", np.full((rows, 2), 1024, np.int32))
    import pyarrow.parquet as pq

    from fx_monai.data.store_build import MASKS_SCHEMA

    pq.write_table(MASKS_SCHEMA.empty_table(), place / "masks.parquet")
    about = {"version": VERSION, "size": SIDE, "bits": 8, "fingerprint": fingerprint, "unreadable": [], "tables": {}}
    (place / "store.json").write_text(json.dumps(about))


def measure(folder: Path) -> None:
    """Print seconds and bytes as JSON."""
    from fx_monai.data.annotations import annotated_rows
    from fx_monai.data.dataset import TaskDataset
    from fx_monai.data.loader import TaskLoader
    from fx_monai.data.manifest import Manifest
    from fx_monai.data.splits import assign_splits
    from fx_monai.data.store import ImageStore
    from fx_monai.types import Kind, Task, TaskSpec

    steps, started = {}, time.perf_counter()

    def note(step: str) -> None:
        nonlocal started
        steps[step], started = round(time.perf_counter() - started, 2), time.perf_counter()

    manifest = Manifest.read(folder / "big.parquet")
    note("manifest")
    splits = assign_splits([manifest], seed=0, fractions=(0.7, 0.1, 0.2))
    note("splits")
    store = ImageStore.open_or_build(manifest, size=SIDE, folder=folder)
    note("store")
    spec = TaskSpec(Task("big", Kind.CLASSIFICATION), LABELS)
    rows = annotated_rows(manifest, spec)
    rows = rows[splits.by_dataset["big"][rows] == "train"]
    dataset = TaskDataset(manifest, store, spec, rows)
    loader = TaskLoader(dataset, batch_size=8, seed=0, num_workers=2)
    note("dataset")
    batches = loader.batches(0, 40)
    for _ in range(8):
        next(batches)
    note("first batches")
    import multiprocessing
    import os

    pids = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
    print(json.dumps({"steps": steps, "memory": sum(map(_memory, pids)), "processes": len(pids)}))


def _memory(pid: int) -> int:
    """Return the anonymous memory of a process, in bytes; what several share is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon"))


def main() -> None:
    """Write both manifests and measure each in a process of its own."""
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for number in (64, rows):
            place = Path(folder) / str(number)
            write(place, number)
            command = [sys.executable, __file__, "measure", str(place)]
            results[number] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for number, result in results.items():
            total = sum(result["steps"].values())
            print(f"{number:9d} rows: {total:5.1f} s  {result['memory'] / 2**20:6.0f} MiB  {result['steps']}")
        print(f"added: {(results[rows]['memory'] - results[64]['memory']) / 2**20:.0f} MiB (goal 400), ", end="")
        print(f"{sum(results[rows]['steps'].values()):.1f} s (goal 10)")


if __name__ == "__main__":
    main()
