"""A small valid native tree of every dataset, as it is downloaded, made on the spot."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fx_monai.data.readers import chexpert as chexpert_reader
from fx_monai.data.readers import mimic_cxr as mimic_reader
from fx_monai.data.readers import nih_google as google_reader
from fx_monai.data.readers import vindr_cxr as vindr_reader
from fx_monai.data.readers import vindr_ribcxr as ribs_reader
from fx_monai.demo.cases import CasePlan, make_case
from fx_monai.demo.cohort import WRITERS
from fx_monai.ops.masks import encode_absolute_rle, encode_coco_rle
from tests.builders import picture
from tests.dicom_builder import dicom_file

SIZE = (40, 48)


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
            picture(root / path, SIZE)
    return root


def chexlocalize(root: Path) -> Path:
    """Masks of two test images and one of validation, with the images in CheXpert's own folders."""
    width, height = SIZE
    sick, none = (encode_coco_rle(square(height, width, box)) for box in ((3, 20, 30, 40), (0, 0, 0, 0)))
    content = {
        "val": {"patient64541_study1_view1_frontal": {"Cardiomegaly": sick, "Edema": none}},
        "test": {
            "patient64741_study1_view1_frontal": {"Airspace Opacity": sick, "Cardiomegaly": none},
            "patient64742_study1_view2_lateral": {"Support Devices": sick},
        },
    }
    for part, images in content.items():
        (root / "CheXlocalize").mkdir(parents=True, exist_ok=True)
        (root / "CheXlocalize" / f"gt_segmentations_{part}.json").write_text(json.dumps(images))
        for key in images:
            patient, study, view = key.split("_", 2)
            picture(root / "CheXpert" / part / patient / study / f"{view}.jpg", SIZE)
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
        picture(root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{image}.jpg", SIZE)
    return root


VINDR_IDS = [f"{number:032x}" for number in range(1, 5)]


def vindr_cxr(root: Path) -> Path:
    """Three training images, each with three readers, and a test image with their consensus; 64 x 64 DICOM."""
    names = vindr_reader.LABELS
    sick, same, healthy, test = VINDR_IDS
    nothing = labels(names, No_finding=1)
    votes = [
        (sick, "R8", *labels(names, Cardiomegaly=1, Pneumonia=1)),
        (sick, "R9", *labels(names, Cardiomegaly=1)),
        (sick, "R10", *nothing),
        *((same, f"R{number}", *labels(names, Pleural_effusion=1)) for number in (1, 2, 3)),
        *((healthy, f"R{number}", *nothing) for number in (8, 9, 10)),
    ]
    filled = [[cell if cell != "" else 0 for cell in row] for row in votes]
    boxes = [
        (sick, "R8", "Cardiomegaly", 10.5, 20, 40, 50.25),
        (sick, "R9", "Cardiomegaly", 12, 21, 41, 50),
        (sick, "R10", "No finding", "", "", "", ""),
        *((same, f"R{number}", "Pleural effusion", 5, 40, 20, 60) for number in (1, 2, 3)),
        *((healthy, f"R{number}", "No finding", "", "", "", "") for number in (8, 9, 10)),
    ]
    folder, corners = root / "annotations", ("x_min", "y_min", "x_max", "y_max")
    table(folder / "image_labels_train.csv", ("image_id", "rad_id", *names), filled)
    table(folder / "annotations_train.csv", ("image_id", "rad_id", "class_name", *corners), boxes)
    native = [{"Other diseases": "Other disease"}.get(name, name) for name in names]
    consensus = [cell or 0 for cell in labels(names, Tuberculosis=1, Lung_cavity=1)]
    table(folder / "image_labels_test.csv", ("image_id", *native), [(test, *consensus)])
    table(folder / "annotations_test.csv", ("image_id", "class_name", *corners), [(test, "Lung cavity", 1, 2, 9, 9)])
    for image in VINDR_IDS:
        split = "test" if image == test else "train"
        dicom_file(root / split / f"{image}.dicom", side=64, PatientSex="F", PatientAge="061Y", PixelSpacing=[0.2, 0.1])
    return root


def vinbigdata(root: Path) -> Path:
    """Two training images of three readers each and a test image without labels; 64 x 64 DICOM."""
    sick, healthy, test = VINDR_IDS[0], VINDR_IDS[2], "f" * 32
    rows = [
        (sick, "Cardiomegaly", 3, "R8", 10.0, 20.0, 40.0, 50.0),
        (sick, "Nodule/Mass", 8, "R8", 1.0, 2.0, 5.0, 6.0),
        (sick, "Cardiomegaly", 3, "R9", 12.0, 21.0, 41.0, 50.0),
        (sick, "Cardiomegaly", 3, "R10", 11.0, 21.0, 41.0, 50.0),
        *((healthy, "No finding", 14, f"R{number}", "", "", "", "") for number in (8, 9, 10)),
    ]
    header = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
    table(root / "train.csv", header, rows)
    for split, image in (("train", sick), ("train", healthy), ("test", test)):
        dicom_file(root / split / f"{image}.dicom", side=64)
    return root


def padchest(root: Path) -> Path:
    """Four images in numbered folders; a report with line breaks, ids of 37 digits."""
    patient = "1234567890123456789012345678901234567"
    header = (
        "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
        "Projection", "SpatialResolution_DICOM", "Rows_DICOM", "Columns_DICOM", "Report", "MethodLabel", "Labels",
    )  # fmt: skip
    size = (SIZE[1], SIZE[0])
    rows = [
        (0, "1_a.png", 0, "20140915", "9" * 37, patient, "1930.0", "F", "PA", "0.143", *size,
         " radiografia \n torax . ", "Physician", "['cardiomegaly', ' pleural effusion', '', 'unchanged']"),
        (1, "1_b.png", 0, "20140915", "9" * 37, patient, "1930.0", "F", "L", "None", *size,
         "", "Physician", "['normal']"),
        (2, "2_a.png", 54, "20150914", "8" * 37, "7" * 37, "", "O", "COSTAL", "None", *size,
         "", "RNN_model", "['exclude']"),
        (3, "3_a.png", 54, "20150914", "6" * 37, "6" * 37, "1950.0", "M", "AP_horizontal", "None", *size,
         "", "RNN_model", "['soft tissue mass', 'pseudonodule']"),
    ]  # fmt: skip
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", header, rows)
    for row in rows:
        picture(root / str(row[2]) / str(row[1]), SIZE)
    return root


def square(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return a mask with a filled box x1, y1, x2, y2."""
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def chexmask(root: Path) -> Path:
    """Masks of two images of a VinDr-CXR tree, which lies in the folder ``vindr_cxr`` (option ``parent_root``)."""
    vindr_cxr(root / "vindr_cxr")
    boxes = ((40, 10, 60, 50), (5, 10, 25, 50), (22, 30, 45, 52))
    masks = [encode_absolute_rle(square(64, 64, box)) for box in boxes]
    landmarks = "[[1 2]\n [3 4]]"
    rows = [
        (VINDR_IDS[0], 0.81, 0.83, landmarks, *masks, 64, 64),
        (VINDR_IDS[3], 0.9, 0.92, landmarks, *masks, 64, 64),
    ]
    header = (
        "image_id", "Dice RCA (Mean)", "Dice RCA (Max)", "Landmarks", "Left Lung", "Right Lung", "Heart", "Height",
        "Width",
    )  # fmt: skip
    table(root / "OriginalResolution" / "VinDr-CXR.csv", header, rows)
    return root


def vindr_ribcxr(root: Path) -> Path:
    """Two training images and one of validation; the first lacks a rib."""
    for split, count in (("train", 2), ("val", 1)):
        names = [f"VinDr_RibCXR_{split}_{number:03d}.png" for number in range(count)]
        content: dict[str, dict[str, object]] = {
            "img": {str(number): f"data/{split}/img/{name}" for number, name in enumerate(names)}
        }
        for place, rib in enumerate(ribs_reader.RIBS):
            x, y = (2.5 if rib.startswith("R") else 22.5), 2.0 + 3 * (place % 10)
            outline = [{"x": x, "y": y}, {"x": x + 12, "y": y}, {"x": x + 12, "y": y + 5}, {"x": x, "y": y + 5}]
            content[rib] = {str(number): outline for number in range(count)}
        content["R1"]["0"] = "None"
        (root / "Data" / split / "img").mkdir(parents=True)
        (root / f"Vindr_RibCXR_{split}_mask.json").write_text(json.dumps(content))
        for name in names:
            picture(root / "Data" / split / "img" / name, SIZE)
    return root


def phantoms(name: str, count: int = 6) -> Callable[[Path], Path]:
    """Return a writer of a few phantoms in the native format of a set."""

    def write(root: Path) -> Path:
        cases = [make_case(CasePlan(name, number, number, 0), 64) for number in range(count)]
        WRITERS[name](cases, root)
        return root

    return write


def chestx_det10(root: Path) -> Path:
    """One training image with two boxes, one test image without any."""
    entries = {
        "train": {"file_name": "36199.png", "syms": ["Effusion", "Mass"], "boxes": [[1, 2, 300, 400], [9, 9, 80, 90]]},
        "test": {"file_name": "36200.png", "syms": [], "boxes": []},
    }
    for split, entry in entries.items():
        picture(root / f"{split}_data" / str(entry["file_name"]), SIZE)
        (root / f"{split}.json").write_text(json.dumps([entry]))
    return root


def nih_google(root: Path) -> Path:
    """Two NIH images, one of either set."""
    header = ("Image Index", "Patient ID", "Patient Age", "Patient Gender", "View Position", *google_reader.LABELS)
    rows = [
        ("00000211_013.png", "211", "58", "M", "AP", "NO", "YES", "YES", "NO", "val"),
        ("00000007_000.png", "7", "61", "F", "PA", "NO", "NO", "NO", "", "test"),
    ]
    table(root / "google2019_nih-chest-xray-labels.csv", (*header, "Set Id"), rows)
    for name, *_ in rows:
        picture(root / "images" / name, SIZE)
    return root


def hannover_covid(root: Path) -> Path:
    """Three images of two patients; of one nobody says when intensive care began."""
    header = ("patient_id", "image_id", "sex", "age", "icu_admission_offset", "icu_release_offset", "projection")
    rows = [("p1", "aa", "m", "", "-2.0", "inf", "ap"), ("p1", "bb", "m", "", "1", "4", "pa")]
    table(root / "data.csv", header, [*rows, ("p2", "cc", "f", "", "", "", "ap")])
    for name in ("aa", "bb", "cc"):
        picture(root / "png" / f"{name}.png", SIZE)
    return root


def covid_chestxray(root: Path) -> Path:
    """Two radiographs and a CT slice."""
    rows = [
        ("4", "M", "28", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "images", "a.png"),
        ("331b", "F", "", "No Finding", "AP Supine", "X-ray", "images", "b.png"),
        ("5", "", "", "Pneumonia", "Axial", "CT", "images", "c.png"),
    ]
    table(root / "metadata.csv", ("patientid", "sex", "age", "finding", "view", "modality", "folder", "filename"), rows)
    for name in ("a", "b", "c"):
        picture(root / "images" / f"{name}.png", SIZE)
    return root


TREES: dict[str, Callable[[Path], Path]] = {
    "chexpert": chexpert,
    "chexlocalize": chexlocalize,
    "mimic_cxr": mimic_cxr,
    "vindr_cxr": vindr_cxr,
    "vinbigdata": vinbigdata,
    "padchest": padchest,
    "chexmask": chexmask,
    "vindr_ribcxr": vindr_ribcxr,
    "chestx_det10": chestx_det10,
    "nih_google": nih_google,
    "hannover_covid": hannover_covid,
    "covid_chestxray": covid_chestxray,
    **{name: phantoms(name) for name in ("shenzhen", "tbx11k", "node21", "candid_ptx")},
    # 8 MB an image
    "jsrt": phantoms("jsrt", 3),
}
# options without which a tree can't be read
OPTIONS = {"chexmask": {"parent_root": "vindr_cxr"}}
