"""What building image stores costs with one and with two processes, by the format of the files.

OMP_NUM_THREADS=1 python -m tests.benchmarks.store_build [SIZE]

Processor time per image: of a build in one process, and of each worker and the parent in a build with two. Workers and
parent run beside each other: "ratio" is the time of one process by the longest of the three, what two cores gain. Needs
an idle machine: the work of others slows memory and caches down. Files: 1024 px PNG, 2500 x 2048 JPEG, the same as raw
DICOM and as lossless JPEG 2000.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from fx_monai.data import store_decode
from fx_monai.data.manifest import Classes, Manifest, Record
from fx_monai.data.store import ImageStore
from tests.benchmarks.loader import picture
from tests.dicom_builder import dicom_file

IMAGES = 12
SHAPE = (2500, 2048)


def write(folder: Path, kind: str) -> Manifest:
    """Write one file of a kind; the images of the manifest are links to it."""
    height, width = (1024, 1024) if kind == "png" else SHAPE
    pixels = picture(height, width, 0)
    path = folder / f"source.{'dcm' if kind.startswith('dicom') else kind}"
    if kind.startswith("dicom"):
        dicom_file(path, (pixels * 4095).astype(np.uint16))
        if kind == "dicom_j2k":
            data = pydicom.dcmread(path)
            data.compress(JPEG2000Lossless)
            data.save_as(path)
    else:
        Image.fromarray((pixels * 255).astype(np.uint8)).save(path, quality=92)
    records = []
    for number in range(IMAGES):
        name = f"{number}{path.suffix}"
        os.link(path, folder / name)
        records.append(Record("d", str(number), name, width, height))
    return Manifest.from_records(records, dataset="d", classes=Classes(), root=folder)


def worker_seconds() -> float:
    """Return the processor time that the children of this process have used, the one that only keeps books included."""
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cost(manifest: Manifest, folder: Path, size: int, workers: int) -> tuple[float, float]:
    """Return the processor time per image in ms, of this process and of all workers."""
    own, others = time.process_time(), worker_seconds()
    ImageStore.open_or_build(manifest, size=size, folder=folder, workers=workers)
    return 1000 * (time.process_time() - own) / IMAGES, 1000 * (worker_seconds() - others) / IMAGES


def main() -> None:
    """Print milliseconds per image."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    store_decode.FEW = 1
    print(f"{'ms/image':12s}{'1 process':>12s}{'each of 2':>12s}{'parent':>10s}{'ratio':>8s}")
    for number, kind in enumerate(("png", "jpg", "dicom_raw", "dicom_j2k")):
        with tempfile.TemporaryDirectory() as place:
            manifest = write(Path(place), kind)
            if not number:
                # starts the workers
                cost(manifest, Path(place) / "start", size, 2)
            alone, _ = cost(manifest, Path(place) / "one", size, 1)
            parent, workers = cost(manifest, Path(place) / "two", size, 2)
        ratio = alone / max(parent, workers / 2)
        print(f"{kind:12s}{alone:12.1f}{workers / 2:12.1f}{parent:10.1f}{ratio:7.2f}x", flush=True)


if __name__ == "__main__":
    main()
