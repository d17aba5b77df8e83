"""A small valid native tree of every dataset, as it is downloaded, made on the spot."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from fx_monai.data.readers import chexpert as chexpert_reader
from fx_monai.data.readers import mimic_cxr as mimic_reader

SIZE = (40, 48)


def picture(path: Path, size: tuple[int, int] = SIZE, grey: int = 90) -> Path:
    """Write an 8-bit image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV file, packed when its name ends with ``.gz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def labels(names: Sequence[str], **values: object) -> list[object]:
    """Return label cells; names with blanks are written with underscores, the others are blank."""
    return [values.get(name.replace(" ", "_"), "") for name in names]


def chexpert(root: Path) -> Path:
    """One folder, as in the smaller archives: two training patients, one of validation."""
    names = chexpert_reader.LABELS
    header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *names)
    sick = labels(names, Edema="-1.0", Pleural_Effusion="1.0", Pneumothorax="0.0", Support_Devices="1.0")
    train = [
        ("train/patient00001/study1/view1_frontal.jpg", "Male", "57", "Frontal", "AP", *sick),
        ("train/patient00001/study1/view2_lateral.jpg", "Male", "57", "Lateral", "", *sick),
        ("train/patient00002/study3/view1_frontal.jpg", "Female", "0", "Frontal", "PA", *labels(names, No_Finding=1.0)),
    ]
    valid = [("valid/patient64541/study1/view1_frontal.jpg", "Female", "73", "Frontal", "AP", *["0.0"] * 13, "1.0")]
    for file, rows in (("train.csv", train), ("valid.csv", valid)):
        table(root / file, header, [(f"CheXpert-v1.0/{path}", *rest) for path, *rest in rows])
        for path, *_ in rows:
            picture(root / path)
    return root


def mimic_cxr(root: Path) -> Path:
    """Three studies of two subjects, one of them without a label row."""
    names = mimic_reader.LABELS
    images = [
        ("0000000a-00000000-00000000-00000000-00000001", "10000032", "50414267", "PA", "train"),
        ("0000000a-00000000-00000000-00000000-00000002", "10000032", "50414267", "LATERAL", "train"),
        ("0000000a-00000000-00000000-00000000-00000003", "10000032", "53189527", "", "train"),
        ("0000000a-00000000-00000000-00000000-00000004", "19999999", "59999999", "AP", "test"),
    ]
    table(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        ("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"),
        [(image, subject, study, "", view, SIZE[1], SIZE[0]) for image, subject, study, view, _ in images],
    )
    table(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        ("dicom_id", "study_id", "subject_id", "split"),
        [(image, study, subject, split) for image, subject, study, _, split in images],
    )
    table(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        ("subject_id", "study_id", *names),
        [
            ("10000032", "50414267", *labels(names, Atelectasis="1.0", Cardiomegaly="-1.0", Pneumothorax="0.0")),
            ("19999999", "59999999", *labels(names, No_Finding="1.0", Support_Devices="1.0")),
        ],
    )
    for image, subject, study, *_ in images:
        picture(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{image}.jpg")
    return root


TREES: dict[str, Callable[[Path], Path]] = {"chexpert": chexpert, "mimic_cxr": mimic_cxr}
