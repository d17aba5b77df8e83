"""Readers against the complete public annotation tables that the wheel of torchxrayvision ships (no images).

The figures come from separate counts of the files and from the papers; no row of a file stands here.
"""

import gzip
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fx_monai.data.columns import ragged
from fx_monai.data.index import index_dataset
from fx_monai.data.readers import nih_chestxray14, rsna_pneumonia, siim_acr, vindr_cxr
from fx_monai.data.readers.chexpert import LABELS as CHEXPERT
from fx_monai.data.readers.column_table import ColumnTable, label_columns
from fx_monai.data.readers.nih_chestxray14 import BOXES as NIH_BOXES
from fx_monai.data.readers.vinbigdata import BOXES as VINBIGDATA

SPEC = find_spec("torchxrayvision")
TABLES = Path(SPEC.origin).parent / "data" if SPEC and SPEC.origin else Path("absent")

pytestmark = [pytest.mark.real, pytest.mark.skipif(not TABLES.is_dir(), reason="torchxrayvision isn't installed")]

# present, absent, uncertain
CHEXPERT_COUNTS = {
    "No Finding": (22381, 0, 0),
    "Enlarged Cardiomediastinum": (10798, 21638, 12403),
    "Cardiomegaly": (27000, 11116, 8087),
    "Lung Opacity": (105581, 6599, 5598),
    "Lung Lesion": (9186, 1270, 1488),
    "Edema": (52246, 20726, 12984),
    "Consolidation": (14783, 28097, 27742),
    "Pneumonia": (6039, 2799, 18770),
    "Atelectasis": (33376, 1328, 33739),
    "Pneumothorax": (19448, 56341, 3145),
    "Pleural Effusion": (86187, 35396, 11628),
    "Pleural Other": (3523, 316, 2653),
    "Fracture": (9040, 2512, 642),
    "Support Devices": (116001, 6137, 1079),
}
VINBIGDATA_BOXES = (7162, 279, 960, 5427, 556, 1000, 1247, 2483, 2580, 2203, 2476, 4842, 226, 4655)
PADCHEST_COUNTS = {
    "normal": 50616,
    "COPD signs": 23280,
    "cardiomegaly": 15022,
    "pleural effusion": 9853,
    "pneumonia": 7953,
    "nodule": 3748,
    "mass": 56,
    "pneumothorax": 533,
    "emphysema": 1538,
    "fracture": 16,
    "cyst": 8,
}


def unpack(name: str, path: Path) -> None:
    with gzip.open(TABLES / f"{name}.gz", "rb") as packed, path.open("wb") as plain:
        shutil.copyfileobj(packed, plain)


def box_counts(manifest, classes):
    found = np.asarray(ragged(manifest.table, "boxes").field("class_index"))
    return tuple(np.bincount(found, minlength=classes).tolist())


def label_counts(labels):
    return {
        name: tuple(int((labels[:, number] == value).sum()) for value in (1, 0, -1))
        for number, name in enumerate(CHEXPERT)
    }


def test_chexpert_labels():
    table = ColumnTable(TABLES / "chexpert_train.csv.gz", columns=CHEXPERT)
    assert label_counts(label_columns(table, CHEXPERT)) == CHEXPERT_COUNTS


@pytest.mark.slow
def test_chexpert(tmp_path):
    unpack("chexpert_train.csv", tmp_path / "train.csv")
    manifest = index_dataset("chexpert", tmp_path, annotations_only=True)
    assert len(manifest) == 223_414
    assert label_counts(manifest.labels()) == CHEXPERT_COUNTS
    views = manifest.table.column("view").value_counts().to_pylist()
    # 17 frontal images say LL or RL
    assert {v["values"]: v["counts"] for v in views} == {"AP": 161_590, "PA": 29_420, "LATERAL": 32_387, "": 17}
    assert len(manifest.table.column("patient_id").unique()) == 64_540
    assert len(manifest.table.column("study_id").unique()) == 187_641


def test_vinbigdata_boxes(tmp_path):
    unpack("vinbigdata-train.csv", tmp_path / "train.csv")
    rows = vindr_cxr.read_boxes(tmp_path / "train.csv", {label.lower(): label for label in VINBIGDATA})
    found = [index for boxes in rows.values() for index, *_ in boxes]
    assert tuple(np.bincount(found).tolist()) == VINBIGDATA_BOXES


@pytest.mark.slow
def test_vinbigdata(tmp_path):
    unpack("vinbigdata-train.csv", tmp_path / "train.csv")
    manifest = index_dataset("vinbigdata", tmp_path, annotations_only=True)
    assert len(manifest) == 15_000
    assert box_counts(manifest, len(VINBIGDATA)) == VINBIGDATA_BOXES
    assert set(ragged(manifest.table, "reader_labels").lengths.tolist()) == {3}
    assert int((manifest.labels()[:, -1] == 1).sum()) == 10_606


@pytest.mark.slow
def test_padchest(tmp_path):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    (tmp_path / name).symlink_to(TABLES / name)
    manifest = index_dataset("padchest", tmp_path, annotations_only=True)
    assert len(manifest) == 160_861
    assert len(manifest.table.column("patient_id").unique()) == 67_625
    sums = np.nansum(manifest.labels(), axis=0)
    counts = dict(zip(manifest.classes.labels, sums.astype(int).tolist(), strict=True))
    assert {label: counts[label] for label in PADCHEST_COUNTS} == PADCHEST_COUNTS
    # 193 names, three of which are remarks about the study
    assert len(counts) == 190
    views = {v["values"]: v["counts"] for v in manifest.table.column("view").value_counts().to_pylist()}
    assert views == {"PA": 91_728, "LATERAL": 49_579, "AP": 14_346 + 4_559, "OTHER": 641, "": 8}
    assert manifest.table.column("patient_id")[0].as_py().removeprefix("padchest:").isdecimal()
    assert [note.split()[1] for note in manifest.notes] == ["6302", "221"]


def test_nih_boxes(tmp_path):
    unpack("BBox_List_2017.csv", tmp_path / "BBox_List_2017.csv")
    boxes = nih_chestxray14.read_boxes(tmp_path)
    assert (len(boxes), sum(map(len, boxes.values()))) == (880, 984)


@pytest.mark.slow
def test_nih(tmp_path):
    unpack("BBox_List_2017.csv", tmp_path / "BBox_List_2017.csv")
    unpack("Data_Entry_2017_v2020.csv", tmp_path / "Data_Entry_2017_v2020.csv")
    manifest = index_dataset("nih_chestxray14", tmp_path, annotations_only=True)
    assert len(manifest) == 112_120
    assert len(manifest.table.column("patient_id").unique()) == 30_805
    counts = dict(zip(NIH_BOXES, box_counts(manifest, len(NIH_BOXES)), strict=True))
    assert counts == {"Atelectasis": 180, "Cardiomegaly": 146, "Effusion": 153, "Infiltration": 123, "Mass": 85,
                      "Nodule": 79, "Pneumonia": 120, "Pneumothorax": 98}  # fmt: skip
    sums = dict(zip(manifest.classes.labels, np.nansum(manifest.labels(), axis=0).astype(int).tolist(), strict=True))
    assert (sums["Infiltration"], sums["Effusion"], sums["Hernia"]) == (19_894, 13_317, 227)


def test_rsna_boxes(tmp_path):
    with zipfile.ZipFile(TABLES / "kaggle_stage_2_train_labels.csv.zip") as archive:
        archive.extract("stage_2_train_labels.csv", tmp_path)
    boxes = rsna_pneumonia.read_boxes(tmp_path / "stage_2_train_labels.csv")
    assert (len(boxes), sum(map(len, boxes.values()))) == (26_684, 9_555)


def test_siim_lesions(tmp_path):
    unpack("siim-pneumothorax-train-rle.csv", tmp_path / "train-rle.csv")
    lesions = siim_acr.read_lesions(tmp_path / "train-rle.csv")
    assert (len(lesions), sum(map(bool, lesions.values()))) == (12_047, 2_669)
    assert sum(map(len, lesions.values())) == 3_576
