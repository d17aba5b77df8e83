"""Writers of the sets whose labels were mined from reports: CheXpert, MIMIC-CXR-JPG, PadChest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fx_monai.data.readers.chexpert import LABELS as CHEXPERT
from fx_monai.data.readers.mimic_cxr import LABELS as MIMIC
from fx_monai.demo.cases import Case
from fx_monai.demo.findings import CARDIOMEGALY, CONSOLIDATION, EFFUSION, NODULE, PNEUMOTHORAX
from fx_monai.demo.native import in_test, random_bytes, write_rows

_STANFORD = {
    CARDIOMEGALY: ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    CONSOLIDATION: ("Consolidation", "Lung Opacity"),
    EFFUSION: ("Pleural Effusion",),
    NODULE: ("Lung Lesion",),
    PNEUMOTHORAX: ("Pneumothorax",),
}
_PADCHEST = {
    CARDIOMEGALY: "cardiomegaly",
    CONSOLIDATION: "consolidation",
    EFFUSION: "pleural effusion",
    NODULE: "nodule",
    PNEUMOTHORAX: "pneumothorax",
}


def write_chexpert(cases: Sequence[Case], root: Path) -> None:
    """Write the folder of the smaller archives: train, valid, and test under CheXlocalize's names; frontal images."""
    tables: dict[str, list[list[object]]] = {"train": [], "valid": [], "test": []}
    views: dict[str, int] = {}
    for case in cases:
        part = ("valid" if case.plan.patient % 2 else "test") if in_test(case) else "train"
        patient = f"patient{case.plan.patient + 1:05d}"
        views[patient] = views.get(patient, 0) + 1
        path = f"{part}/{patient}/study{views[patient]}/view1_frontal.jpg"
        _write_jpeg(case, root / path)
        about = [] if part == "test" else ["Male" if case.sex == "M" else "Female", case.age, "Frontal", case.view]
        cells = _mined(case, CHEXPERT) if part == "train" else _read(case, CHEXPERT)
        tables[part].append([f"CheXpert-v1.0-small/{path}", *about, *cells])
    for part, rows in tables.items():
        columns = ["Path", *([] if part == "test" else ["Sex", "Age", "Frontal/Lateral", "AP/PA"]), *CHEXPERT]
        write_rows(root / ("test_labels.csv" if part == "test" else f"{part}.csv"), ",".join(columns) + "\n", rows)


def write_mimic_cxr(cases: Sequence[Case], root: Path) -> None:
    """Write the JPEG tree and the packed tables of release 2.0.0; as in the real set some studies have no label row."""
    tables: dict[str, list[list[object]]] = {"metadata": [], "split": [], "chexpert": []}
    for case in cases:
        subject, study = 10_000_000 + case.plan.patient, 50_000_000 + case.plan.number
        image = "-".join(random_bytes(case, 20).hex()[i : i + 8] for i in range(0, 40, 8))
        _write_jpeg(case, root / "files" / f"p{str(subject)[:2]}" / f"p{subject}" / f"s{study}" / f"{image}.jpg")
        side = case.image.shape[0]
        tables["metadata"].append([image, subject, study, "CHEST (PORTABLE AP)", case.view, side, side])
        part = ("validate" if case.plan.patient % 2 else "test") if in_test(case) else "train"
        tables["split"].append([image, study, subject, part])
        if case.plan.number % 20 != 19:
            tables["chexpert"].append([subject, study, *_mined(case, MIMIC)])
    headers = {
        "metadata": "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns",
        "split": "dicom_id,study_id,subject_id,split",
        "chexpert": ",".join(("subject_id", "study_id", *MIMIC)),
    }
    for name, rows in tables.items():
        write_rows(root / f"mimic-cxr-2.0.0-{name}.csv.gz", headers[name] + "\n", rows)


def write_padchest(cases: Sequence[Case], root: Path) -> None:
    """Write 16-bit PNGs in numbered folders and the packed table with lists of labels in Python's form."""
    rows = []
    for number, case in enumerate(cases):
        name = f"{random_bytes(case, 16).hex()}_{number:06x}.png"
        folder = root / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(case.image.astype(np.uint16) << 4).save(folder / name)
        labels = [_PADCHEST[found] for found in _PADCHEST if case.has(found)] or ["normal"]
        side = case.image.shape[0]
        view = "AP_horizontal" if case.view == "AP" else "PA"
        cells = [
            number,
            name,
            number % 3,
            20140915,
            10**36 + number,
            2 * 10**36 + case.plan.patient,
            2014 - case.age,
            case.sex,
            view,
        ]
        cells += [side, side, " radiografia \n torax .", "Physician" if number % 4 == 0 else "RNN_model", str(labels)]
        rows.append(cells)
    header = (
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,Rows_DICOM,"
        "Columns_DICOM,Report,MethodLabel,Labels\n"
    )
    write_rows(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", header, rows)


def _write_jpeg(case: Case, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(case.image).save(path, quality=95)


def _read(case: Case, names: Sequence[str]) -> list[str]:
    """Return what radiologists say: 1 or 0 of every label."""
    found = {label for finding, labels in _STANFORD.items() if case.has(finding) for label in labels}
    return ["1.0" if name in (found or {"No Finding"}) else "0.0" for name in names]


def _mined(case: Case, names: Sequence[str]) -> list[str]:
    """Return what text mining says: one in six findings uncertain, half of the absent ones not mentioned."""
    generator = np.random.default_rng([case.plan.seed, case.plan.number, 11])
    truth: Mapping[str, str] = dict(zip(names, _read(case, names), strict=True))
    cells = []
    for name, cell in truth.items():
        doubt, silent = generator.uniform() < 1 / 6, generator.uniform() < 1 / 2
        if name == "No Finding":
            cells.append("1.0" if cell == "1.0" else "")
        elif cell == "1.0":
            cells.append("-1.0" if doubt else "1.0")
        else:
            cells.append("" if silent else "0.0")
    return cells


WRITERS = {"chexpert": write_chexpert, "mimic_cxr": write_mimic_cxr, "padchest": write_padchest}
