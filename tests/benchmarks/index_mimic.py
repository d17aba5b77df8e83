"""Seconds and peak memory of indexing a table-only set of MIMIC-CXR-JPG's size (377,110 images, 227,835 studies).

python tests/benchmarks/index_mimic.py [IMAGES]

The packed tables are generated, there are no pixels (``annotations_only``). Baseline, in the same run: the path that
small sets take, a Python object per row and per image. A fresh process each.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES = 377_110
GOAL_SECONDS, GOAL_BYTES = 30, 2 * 2**30


def write(root: Path, images: int) -> None:
    """Write metadata, split and label tables: about 1.66 images a study, 3.5 studies a subject."""
    from fx_monai.data.readers.mimic_cxr import LABELS

    generator = np.random.default_rng(0)
    study = np.sort(generator.integers(0, max(1, images * 227_835 // IMAGES), images))
    subject = 10_000_000 + study * 2 // 7
    ids = ["-".join(f"{word:08x}" for word in row) for row in generator.integers(0, 2**32, (images, 5))]
    views = generator.choice(["PA", "AP", "LATERAL", "LL", "", "SWIMMERS"], images)
    lines = [
        f"{i},{p},{50_000_000 + s},CHEST (PA AND LAT),{v},3056,2544,21800506,213014.531,CHEST,postero-anterior,Erect"
        for i, p, s, v in zip(ids, subject, study, views, strict=True)
    ]
    header = (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
    )
    _write(root / "mimic-cxr-2.0.0-metadata.csv.gz", header, lines)
    lines = [f"{i},{50_000_000 + s},{p},train" for i, p, s in zip(ids, subject, study, strict=True)]
    _write(root / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", lines)
    studies, first = np.unique(study, return_index=True)
    cells = generator.choice(["1.0", "0.0", "-1.0", "", "", "", ""], (len(studies), len(LABELS)))
    lines = [f"{p},{50_000_000 + s},{','.join(c)}" for p, s, c in zip(subject[first], studies, cells, strict=True)]
    _write(root / "mimic-cxr-2.0.0-chexpert.csv.gz", ",".join(("subject_id", "study_id", *LABELS)), lines)


def by_columns(root: Path) -> int:
    """Index as ``fx-monai index mimic_cxr --annotations-only`` does; return the number of images."""
    from fx_monai.data.index import index_dataset

    return len(index_dataset("mimic_cxr", root, annotations_only=True))


def by_records(root: Path) -> int:
    """Index with a dict per row and a record per image."""
    from fx_monai.data.manifest import Classes, Manifest, Record
    from fx_monai.data.readers.mimic_cxr import LABELS
    from fx_monai.data.readers.tables import label_value, read_table, view

    tables = {}
    for name in ("metadata", "split", "chexpert"):
        plain = root / f"{name}.csv"
        plain.write_bytes(gzip.decompress((root / f"mimic-cxr-2.0.0-{name}.csv.gz").read_bytes()))
        tables[name] = [row for _, row in read_table(plain).rows]
    split = {row["dicom_id"]: row["split"] for row in tables["split"]}
    labels = {row["study_id"]: [label_value(row[name]) for name in LABELS] for row in tables["chexpert"]}
    records = [
        Record(
            dataset="mimic_cxr",
            image_id=row["dicom_id"],
            image_path=f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{row['dicom_id']}.jpg",
            width=int(row["Columns"]),
            height=int(row["Rows"]),
            patient_id=f"mimic:{row['subject_id']}",
            study_id=row["study_id"],
            view=view(row["ViewPosition"]),
            split=split[row["dicom_id"]],
            labels=labels[row["study_id"]],
        )
        for row in tables["metadata"]
    ]
    records.sort(key=lambda record: record.image_id)
    return len(Manifest.from_records(records, dataset="mimic_cxr", classes=Classes(labels=LABELS), root=root))


def measure(how: str, root: Path) -> None:
    """Print images, seconds and peak bytes as JSON."""
    started = time.perf_counter()
    images = {"columns": by_columns, "records": by_records}[how](root)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images": images, "seconds": seconds, "peak": peak}))


def main() -> None:
    """Write the tables and index them both ways."""
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
        return
    images = int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        results = {}
        for how in ("columns", "records"):
            command = [sys.executable, __file__, "measure", how, folder]
            results[how] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            one = results[how]
            print(f"{how}: {one['images']} images, {one['seconds']:.1f} s, peak {one['peak'] / 2**20:.0f} MiB")
    ours, base = results["columns"], results["records"]
    print(f"{base['seconds'] / ours['seconds']:.1f} times faster, {base['peak'] / ours['peak']:.1f} times less memory")
    print(f"goals for {IMAGES} images: {GOAL_SECONDS} s, {GOAL_BYTES / 2**20:.0f} MiB")


def _write(path: Path, header: str, lines: list[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.write("\n".join([header, *lines]) + "\n")


if __name__ == "__main__":
    main()
