"""The demo cohort: some hundred phantoms, written whole or not at all, the same for the same seed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fx_monai.demo import native_candid, native_nodules, native_reports, native_tuberculosis, native_vindr
from fx_monai.demo.cases import Case, CasePlan, make_case
from fx_monai.demo.native import BASE_WRITERS, Writer
from fx_monai.errors import ConfigError, DataError, did_you_mean

VERSION = "1"
ABOUT = "DEMO.json"
SIDE = 256
MIN_IMAGES = 50
WRITERS: dict[str, Writer] = {
    **BASE_WRITERS,
    **native_reports.WRITERS,
    **native_vindr.WRITERS,
    **native_tuberculosis.WRITERS,
    **native_nodules.WRITERS,
    **native_candid.WRITERS,
}
DEFAULT = tuple(BASE_WRITERS)
# share of the images, images per patient
_SHARES = {
    "nih_chestxray14": (0.27, 2),
    "rsna_pneumonia": (0.23, 1),
    "chestx_det": (0.21, 1),
    "siim_acr": (0.18, 1),
    "montgomery": (0.11, 1),
    "chexpert": (0.15, 2),
    "mimic_cxr": (0.15, 2),
    "padchest": (0.1, 1),
    "vindr_cxr": (0.15, 1),
    "vinbigdata": (0.15, 1),
    "chexmask": (0.15, 1),
    "vindr_ribcxr": (0.05, 1),
    "shenzhen": (0.12, 1),
    "tbx11k": (0.15, 1),
    "node21": (0.12, 1),
    "candid_ptx": (0.15, 2),
    # 8 MB an image
    "jsrt": (0.02, 1),
}
# sets that show another set's images
_CASES_OF = {"vinbigdata": "vindr_cxr", "chexmask": "vindr_cxr"}


@dataclass(frozen=True)
class DemoSummary:
    """What was written.

    Args:
        folder: where.
        images: number per dataset.
        findings: number of lesions by name, over all datasets.
        seconds: it took, 0 when the cohort was there already.
    """

    folder: Path
    images: dict[str, int]
    findings: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        images = ", ".join(f"{name} {count}" for name, count in self.images.items())
        findings = ", ".join(f"{name} {count}" for name, count in self.findings.items())
        return f"{self.folder}: {sum(self.images.values())} phantoms, not patients ({images}; {findings})"


def plan_cohort(num_images: int, seed: int, datasets: Sequence[str] = DEFAULT) -> dict[str, list[CasePlan]]:
    """Return the plan of every image, by dataset."""
    plans = {}
    for dataset in datasets:
        share, per_patient = _SHARES[dataset]
        origin = _CASES_OF.get(dataset, dataset)
        count = max(10, round(share * num_images))
        plans[dataset] = [CasePlan(origin, number, number // per_patient, seed) for number in range(count)]
    return plans


def write_demo_cohort(
    out: Path,
    *,
    num_images: int = 600,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    datasets: Sequence[str] = DEFAULT,
) -> DemoSummary:
    """Write the cohort in the native formats of five (or other) datasets, one folder each.

    A folder that holds the same cohort already is left as it is. The files don't depend on the number of workers.

    Args:
        out: folder to write; it appears when everything is written.
        num_images: about so many images in the five together.
        seed: of everything.
        workers: processes.
        progress: called with (done, total).
        datasets: names of :data:`WRITERS`; what ``chexmask`` needs beside it is ``vindr_cxr``.

    Raises:
        ConfigError: fewer than 50 images, no worker, or a dataset that can't be written.
        DataError: the folder holds something else.
    """
    _check_numbers(num_images, workers)
    _check_datasets(datasets)
    wanted = {"version": VERSION, "seed": seed, "num_images": num_images}
    about = _about(out)
    if wanted.items() <= about.items() and list(about["images"]) == list(datasets):
        return DemoSummary(out, about["images"], about["findings"], 0.0)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            where=str(out),
            problem="the folder is not empty and holds another cohort or something else",
            expected="a new folder, or this cohort",
            remedy="Name another folder, or delete this one",
        )
    started = time.monotonic()
    # "." has a name only when it is resolved
    temporary = out.resolve().with_name(out.resolve().name + f".part{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    plans = plan_cohort(num_images, seed, datasets)
    total, done = sum(map(len, plans.values())), 0
    findings: dict[str, int] = {}
    try:
        with ProcessPoolExecutor(workers) as pool:
            for dataset, plan in plans.items():
                cases: list[Case] = []
                for case in pool.map(partial(make_case, side=SIDE), plan, chunksize=8):
                    cases.append(case)
                    done += 1
                    if progress:
                        progress(done, total)
                for case in cases:
                    for lesion in case.lesions:
                        findings[lesion.name] = findings.get(lesion.name, 0) + 1
                WRITERS[dataset](cases, temporary / dataset)
        images = {dataset: len(plan) for dataset, plan in plans.items()}
        about = {**wanted, "images": images, "findings": findings, "note": "generated phantoms, not patients"}
        (temporary / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        _publish(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return DemoSummary(out, images, findings, time.monotonic() - started)


def _check_numbers(num_images: int, workers: int) -> None:
    if num_images < MIN_IMAGES:
        raise ConfigError(
            where="demo cohort",
            problem=f"{num_images} images",
            expected=f"at least {MIN_IMAGES}, so that every dataset has a test split",
            remedy="Ask for more",
        )
    if workers < 1:
        raise ConfigError(
            where="demo cohort", problem=f"{workers} workers", expected="at least 1", remedy="Ask for 1 or more"
        )


def _check_datasets(datasets: Sequence[str]) -> None:
    for name in datasets:
        if name not in WRITERS:
            raise ConfigError(
                where="demo cohort",
                problem=f"no phantoms are written as '{name}'. {did_you_mean(name, WRITERS)}".rstrip(),
                expected=f"some of {', '.join(WRITERS)}",
                remedy="Correct the name",
            )


def _about(out: Path) -> dict[str, Any]:
    """Return what a folder says of its cohort; nothing when it says nothing that can be read."""
    try:
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) and {"images", "findings"} <= about.keys() else {}


def _publish(temporary: Path, out: Path) -> None:
    """Move a finished cohort to its place; an empty folder that is there already stays the same folder."""
    if not out.exists():
        os.replace(temporary, out)
        return
    # the file that says the cohort is whole comes last
    for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == ABOUT):
        os.replace(entry, out / entry.name)
