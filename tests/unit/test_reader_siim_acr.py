import json
import math

import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.siim_acr import read_lesions
from fx_monai.errors import DataError
from fx_monai.ops.masks import decode_coco_rle, encode_relative_rle
from tests.builders import picture
from tests.dicom_builder import dicom_file


def square(x, y, side):
    mask = np.zeros((1024, 1024), np.uint8)
    mask[y : y + side, x : x + side] = 1
    return mask


ONE, TWO = square(100, 200, 10), square(105, 205, 20)


def tree(root, table, folder="dicom-images-train/s/t", images=("a", "b", "c")):
    rows = [f"a, {encode_relative_rle(ONE)}", f"a, {encode_relative_rle(TWO)}", "b, -1", "b,-1"]
    (root / table).write_text("\n".join(["ImageId, EncodedPixels", *rows]))
    for image in images:
        dicom_file(root / folder / f"{image}.dcm", side=32, PatientAge="62", SeriesDescription="view: PA")
    return root


def test_rows_of_an_image_are_one_mask_and_a_box_each(tmp_path):
    a, b, c = index_dataset("siim_acr", tree(tmp_path, "train-rle.csv"))
    assert np.array_equal(decode_coco_rle(json.loads(a.masks[0].data)), np.maximum(ONE, TWO))
    assert len(a.masks) == 1
    assert [(box.x1, box.y1, box.x2, box.y2) for box in a.boxes] == [(100, 200, 110, 210), (105, 205, 125, 225)]
    assert (a.labels, b.labels) == ([1.0], [0.0])
    assert b.masks == []
    assert b.masks_annotated == b.boxes_annotated == [0]
    # no row: unknown, never negative
    assert math.isnan(c.labels[0])
    assert c.masks_annotated == c.boxes_annotated == []
    assert (a.view, a.age_years, a.patient_id) == ("PA", 62, "siim:a")


def test_stage_2_labels_images_of_the_stage_1_test_folder(tmp_path):
    tree(tmp_path, "stage_2_train.csv", images=("a",))
    dicom_file(tmp_path / "dicom-images-test/s/t/b.dcm", side=32)
    dicom_file(tmp_path / "stage_2_images/z.dcm", side=32)
    manifest = index_dataset("siim_acr", tmp_path)
    assert manifest.column("image_id") == ["a", "b", "z"]
    assert manifest[1].labels == [0]
    assert "1 images have no row in stage_2_train.csv" in manifest.notes[0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "line 2, column EncodedPixels: the cell is blank"),
        ("5 2 2", "line 2, column EncodedPixels: 3 numbers"),
        ("1048576 1", "1 pixels beyond the frame"),
        ("5 2\na,-1", "line 3, column EncodedPixels: -1 beside a mask"),
        ("-1\na,5 2", "line 3, column EncodedPixels: -1 beside a mask"),
    ],
)
def test_refuses(tmp_path, cell, message):
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\na,{cell}\n")
    with pytest.raises(DataError, match=message):
        read_lesions(tmp_path / "train-rle.csv")


def test_a_run_that_ends_at_the_last_pixel_counts(tmp_path):
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\na,1048575 1\n")
    mask = decode_coco_rle(read_lesions(tmp_path / "train-rle.csv")["a"][0])
    assert mask[-1, -1] == 1
    assert mask.sum() == 1


def test_pictures_of_a_copy_serve_and_mask_pictures_do_not(tmp_path):
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n1.2.3, -1\n1.2.4,-1\n")
    for path in ("png/1.2.3.png", "masks/1.2.3.png", "jpeg/1.2.4.dcm.jpeg", "png/readme.png"):
        picture(tmp_path / path)
    first, second = index_dataset("siim_acr", tmp_path)
    assert (first.image_path, second.image_path) == ("png/1.2.3.png", "jpeg/1.2.4.dcm.jpeg")
    assert (first.width, first.labels) == (1024, [0])


def test_two_pictures_of_an_image_are_refused_since_one_may_be_its_mask(tmp_path):
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n1.2.3, -1\n")
    for path in ("jpeg/1.2.3.dcm.jpeg", "annotation/1.2.3.png"):
        picture(tmp_path / path)
    with pytest.raises(DataError, match=r"image 1.2.3: there are pictures of it in 'annotation' and 'jpeg'"):
        index_dataset("siim_acr", tmp_path)
    dicom_file(tmp_path / "stage_2_images/1.2.3.dcm", side=32)
    assert index_dataset("siim_acr", tmp_path)[0].image_path == "stage_2_images/1.2.3.dcm"
