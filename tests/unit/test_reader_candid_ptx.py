import json
import math

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from fx_monai.ops.masks import decode_coco_rle, encode_relative_rle, relative_rle_to_coco
from tests.dicom_builder import dicom_file

REPORTS = "Pneumothorax_reports.csv"
UID = "1.2.826.0.1.3680043.8.498.{}"


def square(x, y, side):
    mask = np.zeros((1024, 1024), np.uint8)
    mask[y : y + side, x : x + side] = 1
    return mask


ONE, TWO = square(100, 200, 10), square(105, 205, 20)
RLE, RLE_2 = encode_relative_rle(ONE), encode_relative_rle(TWO)


def write(root, name, header, rows):
    text = "\n".join([header, *(row.replace("#", UID.format("")) for row in rows)])
    (root / name).write_text(text, encoding="utf-8-sig")


def reports(root, *rows):
    write(root, REPORTS, "SOPInstanceUID,EncodedPixels,Report,filename,StudyInstanceUID", rows)


@pytest.fixture
def tree(tmp_path):
    for number in (1, 2, 3, 4):
        path = dicom_file(tmp_path / "dataset" / f"{UID.format(number)}.dcm", PatientSex="F")
        path.rename(path.with_suffix(""))
    reports(
        tmp_path,
        f'#1, {RLE},"Pneumothorax,\nsmall.",P00042_20110304,9.1',
        f"#1,{RLE_2},,P00042_20110304,9.1",
        f"#1,{RLE},,P00042_20110304,9.1",
        '#2, -1,"None.",P00042_20120101,9.2',
        "#3,,,P00007_20120101,9.3",
    )
    return tmp_path


def found(root):
    return {r.image_id.split(".")[-1]: r for r in index_dataset("candid_ptx", root)}


def test_the_dialect_by_hand():
    """Gap and length, column by column, the gap from the end of the run before; the vector of the specification."""
    mask = [[0, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
    rle = relative_rle_to_coco("5 2 2 2 3 1 1 1 2 1", height=4, width=5, where="")
    assert decode_coco_rle(rle).tolist() == mask
    assert rle["counts"] == "52201ON010"
    # read as absolute starts it would be another mask
    assert encode_relative_rle(np.array(mask)) == "5 2 2 2 3 1 1 1 2 1"


def test_rows_of_an_image_are_joined_and_equal_rows_count_once(tree):
    one = found(tree)["1"]
    assert np.array_equal(decode_coco_rle(json.loads(one.masks[0].data)), np.maximum(ONE, TWO))
    assert [(b.x1, b.y1, b.x2, b.y2) for b in one.boxes] == [(100, 200, 110, 210), (105, 205, 125, 225)]
    assert (one.patient_id, one.study_id, one.sex) == ("candid_ptx:42", "9.1", "F")
    assert one.image_path == f"dataset/{UID.format(1)}"


def test_minus_one_blank_and_no_row(tree):
    images = found(tree)
    assert images["2"].labels[0] == 0
    assert images["2"].masks_annotated == images["2"].boxes_annotated == [0]
    for name in ("3", "4"):
        assert math.isnan(images[name].labels[0])
        assert images[name].masks_annotated == images[name].boxes_annotated == []
    # nobody gave the other two tables: unknown, not absent
    assert all(math.isnan(value) for value in images["1"].labels[1:])


def test_other_tables_list_positives_only(tree):
    write(tree, "chest_tube.csv", "anon_SOPUID,annotation,mask_rle", [f"#2,a,{RLE}", f"#2,b,{RLE_2}", "#1,c, -1"])
    write(tree, "Rib_fracture_mask_rle.csv", "anon_SOPUID,annotation,mask_rle", [f"#4,a,{RLE}"])
    images = found(tree)
    np.testing.assert_equal(
        [images[name].labels for name in "1234"],
        [[1, 0, 0], [0, 1, 0], [np.nan, 0, 0], [np.nan, np.nan, 1]],
    )
    assert [b.class_index for b in images["2"].boxes] == [1, 1]
    assert len(images["2"].masks) == 1
    # not in the reports: only its own table speaks
    assert images["4"].masks_annotated == [2]


def test_contradictions_are_unknown_and_counted(tree):
    write(tree, "chest_tube.csv", "anon_SOPUID,annotation,mask_rle", [f"#2,a,{RLE}", "#2,b,-1"])
    manifest = index_dataset("candid_ptx", tree)
    record = manifest[1]
    assert math.isnan(record.labels[1])
    assert (record.boxes, record.masks, record.masks_annotated) == ([], [], [0])
    assert "1 images have a mask and -1 in one table" in " ".join(manifest.notes)


def test_an_image_of_two_patients_and_strangers_are_left_out_and_counted(tree):
    reports(tree, "#1,-1,,P00042_2011,9", "#1,-1,,P00043_2011,9", "#2,-1,,P00042_2011,9")
    write(tree, "chest_tube.csv", "anon_SOPUID,annotation,mask_rle", [f"#77,a,{RLE}"])
    manifest = index_dataset("candid_ptx", tree)
    assert UID.format(1) not in manifest.column("image_id")
    notes = " ".join(manifest.notes)
    assert "1 images stand under several patients" in notes
    assert "1 images of the other tables are neither" in notes
    assert "2 images have no row" in notes


def test_reported_images_must_be_there(tree):
    (tree / "dataset" / UID.format(2)).unlink()
    with pytest.raises(DataError, match="1 annotated images are not there"):
        index_dataset("candid_ptx", tree)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("5 2 2", "line 2, column EncodedPixels: 3 numbers"),
        ("1048576 1", "1 pixels beyond the frame"),
        ("5 0", "line 2, column EncodedPixels: the mask is empty"),
        ("x", "not a number"),
    ],
)
def test_refuses(tree, cell, message):
    reports(tree, f"#1,{cell},,P1_2,9")
    with pytest.raises(DataError, match=message):
        index_dataset("candid_ptx", tree)
    write(tree, REPORTS, "SOPInstanceUID,Pixels", [])
    with pytest.raises(DataError, match="there is no column EncodedPixels or mask_rle"):
        index_dataset("candid_ptx", tree)
