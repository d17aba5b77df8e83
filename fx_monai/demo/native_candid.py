"""Writer of CANDID-PTX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.uid import generate_uid

from fx_monai.demo.cases import Case
from fx_monai.demo.findings import PNEUMOTHORAX
from fx_monai.demo.native import overlapping_halves, to_frame, write_dicom, write_rows
from fx_monai.ops.masks import encode_relative_rle

_HEADER = "SOPInstanceUID,EncodedPixels,Report,filename,StudyInstanceUID\n"


def write_candid_ptx(cases: Sequence[Case], root: Path) -> None:
    """Write DICOM files without suffix, reports with masks, and the tables of tubes and fractures, which list none.

    As in the real set a report has several lines, an image several rows, the table a byte-order mark; every ninth image
    has a blank instead of a mask: nobody says whether there is a pneumothorax.
    """
    (root / "dataset").mkdir(parents=True)
    rows: list[list[object]] = []
    for case in cases:
        image, study = (generate_uid(entropy_srcs=[f"{case.plan} {part}"]) for part in ("image", "study"))
        write_dicom(root / "dataset" / image, case, age=f"{case.age:03d}Y", uid=image)
        name = f"P{case.plan.patient + 1:05d}_201{case.plan.number % 10}0304"
        found = [to_frame(lesion.mask) for lesion in case.lesions if lesion.name == PNEUMOTHORAX]
        parts = [half for mask in found for half in (overlapping_halves(mask) if case.plan.number % 4 == 0 else [mask])]
        cells = [encode_relative_rle(part) for part in parts] or ["-1"]
        report = "Chest, one view.\n" + ("Pneumothorax." if found else "No pneumothorax.")
        for cell in [""] if says_nothing(case) else cells:
            rows.append([image, cell, report, name, study])
    write_rows(root / "Pneumothorax_reports.csv", "\ufeff" + _HEADER, rows)
    for file in ("chest_tube.csv", "acute_rib_fracture.csv"):
        write_rows(root / file, "anon_SOPUID,annotation,mask_rle\n", [])


def says_nothing(case: Case) -> bool:
    """Return whether the table leaves a case's pneumothorax open."""
    return case.plan.number % 9 == 8


WRITERS = {"candid_ptx": write_candid_ptx}
