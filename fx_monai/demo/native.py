"""Writers of the native formats: each takes the cases of one dataset and writes what a download would hold.

Boxes, polygons and run lengths are in the real sets' annotation frame (1024 x 1024); the image files are scaled copies.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from fx_monai.data.readers.nih_chestxray14 import LABELS as NIH_LABELS
from fx_monai.demo.cases import Case
from fx_monai.demo.findings import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EFFUSION,
    INFILTRATION,
    NODULE,
    PNEUMOTHORAX,
    bounds,
)
from fx_monai.ops.masks import encode_relative_rle

Writer = Callable[[Sequence[Case], Path], None]

FRAME = 1024
_SPACINGS = (0.139, 0.143, 0.168, 0.171, 0.194)
_NIH_BOXED = {CARDIOMEGALY, EFFUSION, INFILTRATION, NODULE, PNEUMOTHORAX}
_NIH_BOX_NAMES = {INFILTRATION: "Infiltrate"}


def write_nih(cases: Sequence[Case], root: Path) -> None:
    """Write images, Data_Entry_2017_v2020.csv, BBox_List_2017.csv and the official lists.

    As in the real set only a part of the findings is boxed; unlike there, boxed images stand in both lists.
    """
    (root / "images").mkdir(parents=True)
    entries, boxes, lists = [], [], {"train_val_list.txt": [], "test_list.txt": []}  # type: ignore[var-annotated]
    seen: dict[int, int] = {}
    for case in cases:
        visit = seen.setdefault(case.plan.patient, -1) + 1
        seen[case.plan.patient] = visit
        patient = case.plan.patient + 1
        name = f"{patient:08d}_{visit:03d}.png"
        Image.fromarray(case.image).save(root / "images" / name)
        labels = "|".join(label for label in NIH_LABELS if case.has(label)) or "No Finding"
        spacing = _SPACINGS[patient % len(_SPACINGS)]
        entries.append([name, labels, visit, patient, case.age, case.sex, case.view, 2500, 2500, spacing, spacing])
        if case.plan.number % 4:
            for lesion in case.lesions:
                if lesion.name in _NIH_BOXED:
                    x1, y1, x2, y2 = frame_box(lesion.mask)
                    label = _NIH_BOX_NAMES.get(lesion.name, lesion.name)
                    boxes.append([name, label, x1, y1, x2 - x1, y2 - y1])
        lists["test_list.txt" if in_test(case) else "train_val_list.txt"].append(name)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    )
    write_rows(root / "Data_Entry_2017_v2020.csv", header, entries)
    write_rows(root / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,\n", boxes)
    for file, names in lists.items():
        # the last line has no newline in the real set
        (root / file).write_text("\n".join(names), encoding="utf-8")


def write_rsna(cases: Sequence[Case], root: Path) -> None:
    """Write the Kaggle stage 2 tree: DICOM, labels, classes (one class row per label row)."""
    (root / "stage_2_train_images").mkdir(parents=True)
    labels, classes = [], []
    for case in cases:
        name = str(uuid.UUID(bytes=random_bytes(case, 16)))
        write_dicom(root / "stage_2_train_images" / f"{name}.dcm", case, age=str(case.age))
        found = [lesion for lesion in case.lesions if lesion.name == CONSOLIDATION]
        label = "Lung Opacity" if found else "No Lung Opacity / Not Normal" if case.lesions else "Normal"
        for lesion in found:
            x1, y1, x2, y2 = frame_box(lesion.mask)
            labels.append([name, x1, y1, x2 - x1, y2 - y1, 1])
        if not found:
            labels.append([name, "", "", "", "", 0])
        classes += [[name, label]] * max(1, len(found))
    write_rows(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target\n", labels)
    write_rows(root / "stage_2_detailed_class_info.csv", "patientId,class\n", classes)


def write_chestx_det(cases: Sequence[Case], root: Path) -> None:
    """Write train and test folders and the two JSON lists of classes, boxes and polygons."""
    entries: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for split in entries:
        (root / split).mkdir(parents=True)
    for case in cases:
        split = "test" if in_test(case) else "train"
        name = f"{36000 + case.plan.number}.png"
        Image.fromarray(case.image).save(root / split / name)
        outlines = [_polygon(lesion.mask) for lesion in case.lesions]
        entries[split].append(
            {
                "file_name": name,
                "syms": [lesion.name for lesion in case.lesions],
                "boxes": [_polygon_bounds(outline) for outline in outlines],
                "polygons": outlines,
            }
        )
    for split, content in entries.items():
        (root / f"ChestX_Det_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def write_siim(cases: Sequence[Case], root: Path) -> None:
    """Write the stage 1 tree and train-rle.csv; a large pneumothorax stands in two overlapping rows."""
    rows = []
    for case in cases:
        study, series, image = (generate_uid(entropy_srcs=[f"{case.plan} {part}"]) for part in "abc")
        folder = root / "dicom-images-train" / study / series
        folder.mkdir(parents=True)
        write_dicom(folder / f"{image}.dcm", case, age=str(case.age), uid=image)
        found = [lesion.mask for lesion in case.lesions if lesion.name == PNEUMOTHORAX]
        for mask in found:
            full = to_frame(mask)
            halves = overlapping_halves(full) if case.plan.number % 5 == 0 else [full]
            rows += [[image, " " + encode_relative_rle(half)] for half in halves]
        if not found:
            rows.append([image, " -1"])
    write_rows(root / "train-rle.csv", "ImageId, EncodedPixels\n", rows)


def write_montgomery(cases: Sequence[Case], root: Path) -> None:
    """Write images, left and right lung masks and clinical readings; images are not square, as in the real set."""
    base = root / "MontgomerySet"
    folders = {name: base / name for name in ("CXR_png", "ClinicalReadings")}
    masks = [base / "ManualMask" / name for name in ("leftMask", "rightMask")]
    for folder in (*folders.values(), *masks):
        folder.mkdir(parents=True)
    for case in cases:
        name = f"MCUCXR_{case.plan.number + 1:04d}_{int(case.has(INFILTRATION))}"
        crop = _crop(case.image.shape[0], tall=case.plan.number % 3 == 0)
        Image.fromarray(case.image[crop]).save(folders["CXR_png"] / f"{name}.png")
        for folder, mask in zip(masks, case.lungs, strict=True):
            Image.fromarray(mask[crop] * 255).save(folder / f"{name}.png")
        finding = "infiltrate in the upper field" if case.has(INFILTRATION) else "normal"
        text = f"Patient's Sex: {case.sex}\nPatient's Age: {case.age:03d}Y\n{finding}\n"
        (folders["ClinicalReadings"] / f"{name}.txt").write_text(text, encoding="utf-8")


BASE_WRITERS: dict[str, Writer] = {
    "nih_chestxray14": write_nih,
    "rsna_pneumonia": write_rsna,
    "chestx_det": write_chestx_det,
    "siim_acr": write_siim,
    "montgomery": write_montgomery,
}


def write_dicom(path: Path, case: Case, *, age: str, uid: str = "") -> None:
    """Write an 8-bit MONOCHROME2 computed radiograph with the tags that the public sets keep."""
    height, width = case.image.shape
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = uid or generate_uid(entropy_srcs=[str(case.plan)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[f"{case.plan} study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[f"{case.plan} series"])
    dataset.PatientID, dataset.PatientName = "phantom", "phantom"
    dataset.Modality, dataset.BodyPartExamined = "CR", "CHEST"
    dataset.PatientSex, dataset.ViewPosition = case.sex, case.view
    spacing = _SPACINGS[case.plan.number % len(_SPACINGS)] * FRAME / width
    dataset.PixelSpacing = [f"{spacing:.5g}", f"{spacing:.5g}"]
    dataset.Rows, dataset.Columns = height, width
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = case.image.tobytes()
    # the public sets write ages as plain numbers, against the standard
    with disable_value_validation():
        dataset.PatientAge = age
        dataset.save_as(path, enforce_file_format=True)


def in_test(case: Case) -> bool:
    """Return whether a case's patient is in the official test set."""
    return case.plan.patient % 5 == 4


def random_bytes(case: Case, count: int) -> bytes:
    """Return bytes for a name; the same for the same case."""
    return np.random.default_rng([case.plan.seed, case.plan.number, 7]).bytes(count)


def write_rows(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    """Write a table, packed when its name ends with ``.gz``; the header is a line of its own, as it stands."""
    text = io.StringIO(newline="")
    text.write(header)
    csv.writer(text, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode()
    # no time in the packed file: the same cohort has the same bytes
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def to_frame(mask: NDArray[np.uint8], side: int = FRAME) -> NDArray[np.uint8]:
    """Return a mask in an annotation frame of side x side."""
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)


def frame_box(mask: NDArray[np.uint8], side: int = FRAME) -> tuple[float, float, float, float]:
    """Return a mask's bounds (xyxy) in an annotation frame of side x side."""
    scale = side / mask.shape[0]
    x1, y1, x2, y2 = (value * scale for value in bounds(mask))
    return x1, y1, x2, y2


def _polygon(mask: NDArray[np.uint8]) -> list[list[int]]:
    """Return the outline in the annotation frame; filling it gives the mask within a pixel."""
    outlines, _ = cv2.findContours(to_frame(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_KCOS)
    return [[int(x), int(y)] for x, y in max(outlines, key=cv2.contourArea)[:, 0]]


def _polygon_bounds(points: list[list[int]]) -> list[int]:
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def overlapping_halves(mask: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the upper and the lower part of a mask, which share its middle."""
    _, y1, _, y2 = bounds(mask)
    upper, lower = mask.copy(), mask.copy()
    upper[y1 + int(0.6 * (y2 - y1)) :] = 0
    lower[: y1 + int(0.4 * (y2 - y1))] = 0
    return [half for half in (upper, lower) if half.any()]


def _crop(side: int, *, tall: bool) -> tuple[slice, slice]:
    """Return the middle of a square with the aspect of the real set's plates."""
    cut = round(side * (1 - 4020 / 4892) / 2)
    inner, whole = slice(cut, side - cut), slice(0, side)
    return (whole, inner) if tall else (inner, whole)
