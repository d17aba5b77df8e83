import gzip
import json

import numpy as np
import pytest

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.errors import ConfigError, DataError
from fx_monai.ops.masks import decode_coco_rle, encode_absolute_rle
from tests import native_trees
from tests.builders import picture
from tests.dicom_builder import dicom_file

TABLE = "OriginalResolution/VinDr-CXR.csv"
OPTIONS = {"parent_root": "vindr_cxr"}
SICK, TEST = native_trees.VINDR_IDS[0], native_trees.VINDR_IDS[3]
LEFT, RIGHT = (40, 10, 60, 50), (5, 10, 25, 50)


@pytest.fixture
def root(tmp_path):
    return native_trees.chexmask(tmp_path)


def change(path, old, new, count=-1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def masks_of(root, table, header, rows, **options):
    native_trees.table(root / table, header, rows)
    return index_dataset("chexmask", root, options=options)


def test_masks_join_the_images_of_the_parent(root):
    manifest = index_dataset("chexmask", root, options=OPTIONS)
    sick, test = manifest
    left, right, heart = (decode_coco_rle(json.loads(mask.data)) for mask in sick.masks)
    assert np.array_equal(left, native_trees.square(64, 64, LEFT))
    assert np.array_equal(right, native_trees.square(64, 64, RIGHT))
    assert heart.sum() == 23 * 22
    # the patient's left is on the right of the image
    assert sick.boxes[0].x1 > sick.boxes[1].x1
    assert [(b.x1, b.y1, b.x2, b.y2) for b in sick.boxes[:2]] == [LEFT, RIGHT]
    assert sick.boxes_annotated == sick.masks_annotated == [0, 1, 2]
    assert sick.image_path == f"vindr_cxr/train/{SICK}.dicom"
    assert (root / sick.image_path).is_file()
    parent = {r.image_id: r for r in index_dataset("vindr_cxr", root / "vindr_cxr")}
    assert (sick.patient_id, sick.split, test.split) == (parent[SICK].patient_id, "train", "test")
    assert sick.source_image == parent[SICK].source_image
    # images without a row are unknown: they have no record
    assert len(manifest) == 2


def test_the_parents_tree_may_lie_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "vindr_cxr").rename(elsewhere / "vindr")
    manifest = index_dataset("chexmask", root, options={"parent_root": str(elsewhere / "vindr")})
    assert manifest.column("image_path")[0].startswith("../")
    other = index_dataset("vindr_cxr", elsewhere / "vindr")
    # one file, one group, whatever the way to it
    groups = linked_groups([manifest, other])
    assert groups[0] == groups[2]
    (elsewhere / "vindr" / "train" / f"{SICK}.dicom").unlink()
    with pytest.raises(DataError, match="1 annotated images are not there"):
        index_dataset("chexmask", root, options={"parent_root": str(elsewhere / "vindr")})


def test_doubtful_masks_are_left_out(root):
    change(root / TABLE, "0.81,0.83", "0.81,0.65")
    manifest = index_dataset("chexmask", root, options=OPTIONS)
    assert manifest.column("image_id") == [TEST]
    assert manifest.notes == ("chexmask: 1 rows have an estimated Dice below 0.7 and were left out",)
    assert len(index_dataset("chexmask", root, options={**OPTIONS, "min_rca": "0.65"})) == 2
    for bad in ("1.5", "high"):
        with pytest.raises(ConfigError, match=f"option min_rca: '{bad}'. Expected a number from 0 to 1"):
            index_dataset("chexmask", root, options={**OPTIONS, "min_rca": bad})


def test_blank_cells_are_unknown_and_strangers_left_out(root):
    path = root / TABLE
    lines = path.read_text().split("\n")
    change(path, encode_absolute_rle(native_trees.square(64, 64, LEFT)), "", count=1)
    change(path, TEST, "0" * 32)
    assert len(lines) > 3
    manifest = index_dataset("chexmask", root, options=OPTIONS)
    assert manifest[0].masks_annotated == manifest[0].boxes_annotated == [1, 2]
    assert any("1 rows name an image that the parent set doesn't have" in note for note in manifest.notes)
    assert any("1 mask cells are blank" in note for note in manifest.notes)


PADCHEST = ("ImageID", "Dice RCA (Max)", "Dice RCA (Mean)", "Heart", "Left Lung", "Right Lung", "Height", "Width")


def test_padchest_has_swapped_columns_and_rows_without_a_size(tmp_path):
    native_trees.padchest(tmp_path / "padchest")
    width, height = native_trees.SIZE
    mask = encode_absolute_rle(native_trees.square(height, width, (3, 2, 20, 30)))
    manifest = masks_of(
        tmp_path,
        "OriginalResolution/Padchest.csv",
        PADCHEST,
        [("1_a.png", 0.6, 0.9, mask, mask, mask, "", ""), ("3_a.png", 0.75, 0.9, mask, mask, mask, "", "")],
        parent_root="padchest",
    )
    # the smaller of the two counts
    assert manifest.column("image_id") == ["3_a.png"]
    assert (manifest[0].width, manifest[0].height) == (width, height)
    assert (manifest[0].boxes[0].x1, manifest[0].boxes[0].y2) == (3, 30)


@pytest.mark.parametrize(
    ("told", "frame"),
    [((48, 40), (40, 48)), ((40, 48), (40, 48)), ((96, 80), (80, 96)), ((80, 96), (80, 96)), ((48, 44), None)],
    ids=["right", "swapped", "scaled copy", "swapped copy", "another"],
)
def test_height_and_width_are_checked_against_the_image(tmp_path, told, frame):
    native_trees.mimic_cxr(tmp_path / "mimic")
    image = "0000000a-00000000-00000000-00000000-00000001"
    mask = native_trees.square(max(told), min(told), (3, 2, 20, 30))
    header = ("dicom_id", "Dice RCA (Mean)", "Dice RCA (Max)", "Left Lung", "Right Lung", "Heart", "Height", "Width")
    row = (image, 0.9, 0.9, *[encode_absolute_rle(mask)] * 3, *told)
    native_trees.table(tmp_path / "OriginalResolution/MIMIC-CXR-JPG.csv.gz", header, [row])
    options = {"parent_root": "mimic"}
    if frame is None:
        with pytest.raises(DataError, match="no image was found"):
            index_dataset("chexmask", tmp_path, options=options)
        return
    record = index_dataset("chexmask", tmp_path, options=options)[0]
    assert (record.width, record.height) == frame
    assert np.array_equal(decode_coco_rle(json.loads(record.masks[0].data)), mask)
    assert (record.patient_id, record.view) == ("mimic:10000032", "PA")


def test_chexpert_and_nih_ids(tmp_path):
    native_trees.chexpert(tmp_path / "chexpert")
    width, height = native_trees.SIZE
    header = ("Path", "Dice RCA (Mean)", "Dice RCA (Max)", "Left Lung", "Right Lung", "Heart", "Height", "Width")
    mask = encode_absolute_rle(native_trees.square(height, width, (3, 2, 20, 30)))
    row = ("train/patient00001/study1/view1_frontal.jpg", 0.9, 0.9, mask, mask, mask, height, width)
    manifest = masks_of(tmp_path, "CheXpert.csv", header, [row], parent_root="chexpert")
    assert manifest[0].patient_id == "chexpert:patient00001"
    picture(tmp_path / "nih/images/00000007_000.png")
    (tmp_path / "nih/Data_Entry_2017_v2020.csv").write_text(
        "Image Index,Finding Labels,Patient ID\n00000007_000.png,No Finding,7\n"
    )
    mask = encode_absolute_rle(native_trees.square(1024, 1024, (3, 2, 20, 30)))
    row = ("00000007_000.png", 0.9, 0.9, mask, mask, mask, 1024, 1024)
    with pytest.raises(ConfigError, match="there are tables of nih_chestxray14, chexpert. Expected one of them"):
        masks_of(tmp_path, "ChestX-Ray8.csv", ("Image Index", *header[1:]), [row], parent_root="nih")
    manifest = index_dataset("chexmask", tmp_path, options={"parent_root": "nih", "parent": "nih_chestxray14"})
    assert manifest[0].patient_id == "nih:7"


def test_candid_ids_have_a_suffix_that_the_files_lack(tmp_path):
    image = "1.2.276.0.7"
    dicom_file(tmp_path / "candid" / "dataset" / f"{image}.dcm", side=64).rename(
        tmp_path / "candid" / "dataset" / image
    )
    for name in ("Pneumothorax_reports.csv", "chest_tube.csv", "acute_rib_fracture.csv"):
        (tmp_path / "candid" / name).write_text(f"SOPInstanceUID,EncodedPixels\n{image},-1\n")
    mask = encode_absolute_rle(native_trees.square(1024, 1024, (3, 2, 20, 30)))
    header = ("ImageID", "Dice RCA (Mean)", "Dice RCA (Max)", "Left Lung", "Right Lung", "Heart", "Height", "Width")
    row = (f"{image}.jpg", 0.9, 0.9, mask, mask, mask, 1024, 1024)
    manifest = masks_of(tmp_path, "OriginalResolution/CANDID-PTX.csv", header, [row], parent_root="candid")
    assert manifest.column("image_id") == [image]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Dice RCA (Max)", "Dice", r"the column 'Dice RCA \(Max\)' is missing"),
        ("0.81", "high", r"line 3, column Dice RCA \(Mean\): 'high' is not a number"),
        (",64,64", ",64,wide", "line 3, columns Height and Width: 'wide'"),
        (encode_absolute_rle(native_trees.square(64, 64, LEFT)), "1 5000", "column Left Lung: a run outside the frame"),
    ],
)
def test_refuses(root, old, new, message):
    change(root / TABLE, old, new)
    with pytest.raises(DataError, match=message):
        index_dataset("chexmask", root, options=OPTIONS)


def test_missing_things_are_named(root):
    with pytest.raises(ConfigError, match="option parent_root: the option is missing. Expected the folder of VinDr"):
        index_dataset("chexmask", root)
    with pytest.raises(ConfigError, match="option parent: 'vindr'. Did you mean 'vindr_cxr'"):
        index_dataset("chexmask", root, options={**OPTIONS, "parent": "vindr"})
    packed = gzip.compress((root / TABLE).read_bytes())
    (root / "Preprocessed").mkdir()
    (root / TABLE).rename(root / "Preprocessed" / "VinDr-CXR.csv")
    with pytest.raises(DataError, match="no table of masks in the images' own resolution"):
        index_dataset("chexmask", root, options=OPTIONS)
    (root / f"{TABLE}.gz").write_bytes(packed)
    assert len(index_dataset("chexmask", root, options=OPTIONS)) == 2
