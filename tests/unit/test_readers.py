"""Every reader on files of the native form, made on the spot, and on broken ones."""

import json
import math

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.tables import age_years, spacing, view
from fx_monai.errors import ConfigError, DataError
from fx_monai.ops.masks import decode_coco_rle
from tests.builders import coco_folder, csv_folder, picture

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)


@pytest.fixture
def nih(tmp_path):
    for name in ("00000007_000.png", "00000007_001.png", "00000008_000.png"):
        picture(tmp_path / "images" / name)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(
        NIH_HEADER
        + "00000007_000.png,Infiltration|Pneumonia,0,7,61,F,AP,2048,3072,0.2,0.1\n"
        + "00000007_001.png,No Finding,1,7,414,F,PA,2048,2048,0,0\n"
        + "00000008_000.png,Hernia,0,8,30,M,PA,1024,1024,0.143,0.143\n"
    )
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000007_000.png,Infiltrate,10.5,20,100,200\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000007_000.png\n00000007_001.png")
    (tmp_path / "test_list.txt").write_text("00000008_000.png")
    return tmp_path


def test_nih(nih):
    first, second, third = index_dataset("nih_chestxray14", nih)
    names = index_dataset("nih_chestxray14", nih).classes
    assert {n for n, v in zip(names.labels, first.labels, strict=True) if v} == {"Infiltration", "Pneumonia"}
    assert not any(second.labels)
    box = first.boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (10.5, 20, 110.5, 220)
    assert names.boxes[box.class_index] == "Infiltration"
    # Pneumonia is present without a box: nobody says where, so it is not a negative
    looked = {names.boxes[i] for i in first.boxes_annotated}
    assert looked == set(names.boxes) - {"Pneumonia"}
    assert second.boxes_annotated == []
    assert (first.split, third.split) == ("train", "test")
    assert (first.patient_id, first.view, first.sex) == ("nih:7", "AP", "F")
    # the image was resized straight to 1024 x 1024
    assert first.spacing_mm_x == pytest.approx(0.2 * 2048 / 1024)
    assert first.spacing_mm_y == pytest.approx(0.1 * 3072 / 1024)
    assert math.isnan(second.spacing_mm_x)
    assert math.isnan(second.age_years)


def test_nih_trailing_comma_and_other_column_name(nih):
    path = nih / "Data_Entry_2017_v2020.csv"
    lines = path.read_text().replace("Patient Gender", "Patient Sex").splitlines()
    path.unlink()
    (nih / "Data_Entry_2017.csv").write_text("".join(line + ",\n" for line in lines))
    assert [r.sex for r in index_dataset("nih_chestxray14", nih)] == ["F", "F", "M"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Data_Entry_2017_v2020.csv", "Hernia", "Hernai", r"line 4, column Finding Labels: unknown label 'Hernai'"),
        ("Data_Entry_2017_v2020.csv", "Finding Labels", "Labels", r"the column 'Finding Labels' is missing"),
        ("BBox_List_2017.csv", "10.5", "ten", r"BBox_List_2017.csv, line 2, column x: 'ten' is not a number"),
        ("BBox_List_2017.csv", "10.5", "1000", r"lies outside the image. Expected xyxy pixels inside 1024 x 1024"),
        ("BBox_List_2017.csv", "Infiltrate", "Thing", r"unknown box class 'Thing'"),
    ],
)
def test_nih_refuses(nih, file, old, new, message):
    (nih / file).write_text((nih / file).read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("nih_chestxray14", nih)


def test_missing_images_are_counted_or_refused(nih):
    (nih / "images" / "00000008_000.png").unlink()
    with pytest.raises(DataError, match=r"1 annotated images are not there \(00000008_000.png\)"):
        index_dataset("nih_chestxray14", nih)
    manifest = index_dataset("nih_chestxray14", nih, allow_missing_images=True)
    assert len(manifest) == 2
    assert "1 annotated images" in manifest.notes[0]


def test_missing_things_are_named(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        index_dataset("nih_chestxray14", tmp_path / "no")
    with pytest.raises(DataError, match="there is no table of image labels"):
        index_dataset("nih_chestxray14", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'montgomery'"):
        index_dataset("montgomry", tmp_path)
    with pytest.raises(ConfigError, match="there is no option 'annotation'. Did you mean 'annotations'"):
        index_dataset("coco", tmp_path, options={"annotation": "x"})


def test_rsna_over_nih_pngs(nih):
    (nih / "rsna").mkdir()
    (nih / "rsna" / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\na-1,1.0,2.0,30.0,40.0,1\na-1,100.0,2.0,30.0,40.0,1\nb-2,,,,,0\n"
    )
    (nih / "rsna" / "stage_2_detailed_class_info.csv").write_text(
        "patientId,class\na-1,Lung Opacity\na-1,Lung Opacity\nb-2,No Lung Opacity / Not Normal\n"
    )
    (nih / "rsna" / "rsna_to_nih.csv").write_text(
        "patientId,nih_image,mse\na-1,00000007_000.png,0.5\nb-2,00000008_000.png,0.5\n"
    )
    a, b = index_dataset("rsna_pneumonia", nih)
    assert a.labels == [0, 0, 1]
    assert b.labels == [0, 1, 0]
    assert len(a.boxes) == 2
    assert b.boxes == []
    assert b.boxes_annotated == [0]
    assert (a.patient_id, a.source_image, a.view) == ("nih:7", "nih_chestxray14/00000007_000.png", "AP")


def test_chestx_det(tmp_path):
    entry = {
        "file_name": "5.png",
        "syms": ["Effusion", "Nodule"],
        "boxes": [[1, 2, 30, 40], [50, 60, 70, 80]],
        "polygons": [[[1, 2], [30, 2], [30, 40]], [[50, 60], [70, 60], [70, 80]]],
    }
    empty = {"file_name": "6.png", "syms": [], "boxes": [], "polygons": []}
    (tmp_path / "ChestX_Det_train.json").write_text(json.dumps([entry, empty]))
    (tmp_path / "ChestX_Det_test.json").write_text(json.dumps([{**empty, "file_name": "7.png"}]))
    for name in ("train/5.png", "train/6.png", "test/7.png"):
        picture(tmp_path / name)
    manifest = index_dataset("chestx_det", tmp_path)
    test, full, none = manifest
    assert (test.split, full.split) == ("test", "train")
    assert [manifest.classes.boxes[b.class_index] for b in full.boxes] == ["Effusion", "Nodule"]
    assert sum(full.labels) == 2
    assert none.labels == [0.0] * 13
    assert len(none.boxes_annotated) == 13
    entry["boxes"].pop()
    (tmp_path / "ChestX_Det_train.json").write_text(json.dumps([entry]))
    with pytest.raises(DataError, match="2 syms, 1 boxes, 2 polygons"):
        index_dataset("chestx_det", tmp_path)


def test_coco_forms_of_masks(tmp_path):
    root = coco_folder(tmp_path / "c", count=4)
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    x, y = content["annotations"][0]["bbox"][:2]
    flat = content["annotations"][0]["segmentation"][0]
    content["annotations"][0]["segmentation"] = json.dumps(flat)
    content["annotations"][1]["segmentation"] = {"size": [64, 64], "counts": [0, 64, 64 * 63]}
    del content["annotations"][2]["category_id"]
    path.write_text(json.dumps(content))
    manifest = index_dataset("coco", root)
    mask = decode_coco_rle(json.loads(manifest[0].masks[0].data))
    assert mask[y : y + 18, x : x + 18].all()
    assert mask.sum() == 18 * 18
    assert decode_coco_rle(json.loads(manifest[1].masks[0].data))[:, 0].all()
    assert "annotation 2 has no known category" in manifest.notes[0]
    assert manifest[2].boxes == []
    # somebody drew something there that can't be read: unknown, not negative
    assert manifest[2].boxes_annotated == []
    assert manifest[2].masks_annotated == []


def test_coco_class_counts_as_looked_for_only_in_the_kind_it_has(tmp_path):
    root = coco_folder(tmp_path / "c", count=3)
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 2, "name": "nodule"})
    content["annotations"].append({"id": 9, "image_id": 0, "category_id": 2, "bbox": [1, 1, 5, 5]})
    content["annotations"].append({"id": 10, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1})
    path.write_text(json.dumps(content))
    first, second, third = index_dataset("coco", root)
    assert (first.boxes_annotated, first.masks_annotated) == ([0, 1], [0])
    assert (second.boxes_annotated, second.masks_annotated) == ([1], [])
    assert third.masks_annotated == [0]
    for annotation in content["annotations"]:
        annotation.pop("bbox")
    path.write_text(json.dumps(content))
    manifest = index_dataset("coco", root)
    assert manifest.classes.boxes == ()
    assert all(record.boxes_annotated == [] for record in manifest)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [10, 10], "counts": "x"}, "run lengths of size"),
        ({"size": [64, 64], "counts": "zzzz"}, "run"),
        ({"size": [64, 64], "counts": "1"}, "runs add up to 1"),
        ([[-9, -9, -2, -9, -2, -2]], "a polygon outside the image"),
        ([[1, 1, float("nan"), 4, 5, 6]], "something that is no number"),
    ],
)
def test_coco_refuses_broken_masks(tmp_path, segmentation, message):
    root = coco_folder(tmp_path / "c", count=2)
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        index_dataset("coco", root)


def test_coco_refuses(tmp_path):
    root = coco_folder(tmp_path / "c", count=2)
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 0: a polygon of 3 numbers"):
        index_dataset("coco", root)
    path.write_text("{}")
    with pytest.raises(DataError, match="there is no list 'images'"):
        index_dataset("coco", root)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        index_dataset("coco", root)


def test_label_table(tmp_path):
    root = csv_folder(tmp_path / "t", columns=("bright", "other"))
    table = (root / "labels.csv").read_text().replace("0.png,p0,0,0", "0.png,p0,-1,")
    (root / "labels.csv").write_text(table)
    manifest = index_dataset("csv", root)
    assert manifest.classes.labels == ("bright", "other")
    assert manifest[0].labels[0] == -1
    assert math.isnan(manifest[0].labels[1])
    assert manifest[1].patient_id == "csv:p1"
    assert index_dataset("csv", root, options={"label_columns": "other"}).classes.labels == ("other",)
    (root / "labels.csv").write_text(table.replace("1.png,p1,1", "1.png,p1,yes"))
    with pytest.raises(DataError, match=r"labels.csv, line 3, column bright: 'yes'"):
        index_dataset("csv", root)
    (root / "labels.csv").write_text(table.replace("image,", "picture,"))
    with pytest.raises(DataError, match="no column names the images; found picture"):
        index_dataset("csv", root)


def test_montgomery(tmp_path):
    base = tmp_path / "MontgomerySet"
    for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"):
        picture(base / folder / "MCUCXR_0001_1.png", (40, 32))
    (base / "CXR_png" / "Thumbs.db").write_bytes(b"x")
    (base / "ClinicalReadings").mkdir()
    (base / "ClinicalReadings" / "MCUCXR_0001_1.txt").write_text("Patient's Sex: F\nPatient's Age: 040Y\nx\n")
    manifest = index_dataset("montgomery", tmp_path)
    assert (manifest[0].width, manifest[0].height) == (40, 32)
    assert manifest[0].labels == [1]
    assert (manifest[0].sex, manifest[0].age_years) == ("F", 40)
    assert [m.data.split("/")[-2] for m in manifest[0].masks] == ["leftMask", "rightMask"]
    (base / "ManualMask" / "leftMask" / "MCUCXR_0001_1.png").unlink()
    with pytest.raises(DataError, match="leftMask/MCUCXR_0001_1.png"):
        index_dataset("montgomery", tmp_path)


@pytest.mark.parametrize(
    ("text", "years"), [("58", 58), ("058Y", 58), ("6M", 0.5), ("", None), ("155", None), ("abc", None)]
)
def test_ages(text, years):
    assert age_years(text) == years if years is not None else math.isnan(age_years(text))


def test_views_and_spacings():
    assert [view(v) for v in ("AP Supine", "pa", "LL", "todo", "AP_horizontal")] == ["AP", "PA", "LATERAL", "", "AP"]
    assert spacing(0.143) == 0.143
    assert np.isnan([spacing(0.0), spacing(99.0)]).all()
