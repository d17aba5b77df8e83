"""What test_readers.py leaves open: versions of the files, refusals."""

import pytest
from PIL import Image

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.nih_chestxray14 import parse_labels, patient_of
from fx_monai.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
IMAGE = "00000007_000.png"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images_001" / "images").mkdir(parents=True)
    Image.new("L", (32, 32)).save(tmp_path / "images_001" / "images" / IMAGE)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(
        HEADER + f"{IMAGE},Mass|Effusion,0,7,61,F,AP,2048,3072,0.2,0.1\n"
    )
    return tmp_path


def test_images_of_the_kaggle_tree_are_found(root):
    assert index_dataset("nih_chestxray14", root)[0].image_path == f"images_001/images/{IMAGE}"


def test_the_later_table_is_preferred(root):
    (root / "Data_Entry_2017.csv").write_text(HEADER + f"{IMAGE},No Finding,0,7,414,F,AP,2048,3072,0.2,0.1\n")
    assert index_dataset("nih_chestxray14", root)[0].age_years == 61


def test_older_sample_format(root):
    (root / "Data_Entry_2017_v2020.csv").unlink()
    (root / "sample_labels.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImageWidth,"
        "OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y\n"
        f"{IMAGE},No Finding,000,00000007,060Y,M,PA,2048,1024,0.2,0.1\n"
    )
    record = index_dataset("nih_chestxray14", root)[0]
    assert (record.patient_id, record.age_years, record.sex, record.view) == ("nih:7", 60, "M", "PA")
    assert (record.spacing_mm_x, record.spacing_mm_y) == pytest.approx((0.4, 0.1))


def test_boxes_slightly_outside_are_clipped_and_unlisted_images_noted(root):
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        f"{IMAGE},Mass,900,900,124.5,124\n{IMAGE},Effusion,-0.5,1,10,10\n00000009_000.png,Mass,1,1,5,5\n"
    )
    manifest = index_dataset("nih_chestxray14", root)
    assert [(b.x1, b.y1, b.x2, b.y2) for b in manifest[0].boxes] == [(900, 900, 1024, 1024), (0, 1, 9.5, 11)]
    assert any("1 images of BBox_List_2017.csv are not in" in note for note in manifest.notes)


def test_lists_of_the_official_split_that_are_not_there_are_noted(root):
    for file in ("train_val_list.txt", "test_list.txt"):
        (root / file).unlink(missing_ok=True)
    missing = "there is no train_val_list.txt and no test_list.txt; that part of the official split is unknown"
    assert any(missing in note for note in index_dataset("nih_chestxray14", root).notes)
    (root / "test_list.txt").write_text(IMAGE)
    manifest = index_dataset("nih_chestxray14", root)
    assert manifest[0].split == "test"
    assert any("there is no train_val_list.txt; that part" in note for note in manifest.notes)


def test_box_outside_names_file_line_image_box_and_frame(root):
    (root / "BBox_List_2017.csv").write_text(f"header\n{IMAGE},Mass,900,900,200,100\n")
    message = (
        rf"BBox_List_2017.csv, line 2, {IMAGE}: box \(900, 900, 1100, 1000\) lies outside .* 1024 x 1024\. Correct"
    )
    with pytest.raises(DataError, match=message):
        index_dataset("nih_chestxray14", root)


def test_no_finding_beside_a_finding_is_refused():
    assert sum(parse_labels("No Finding", "f")) == 0
    with pytest.raises(DataError, match=r"'No Finding\|Mass'"):
        parse_labels("No Finding|Mass", "f, line 3")
    # exact names, no sub-strings
    with pytest.raises(DataError, match="unknown label 'Pleural'"):
        parse_labels("Pleural|Mass", "f, line 3")


def test_names_that_tell_no_patient_are_refused():
    assert patient_of("00012345_017.png", "f") == "nih:12345"
    with pytest.raises(DataError, match="f, line 2: 'scan.png' is not an NIH file name"):
        patient_of("scan.png", "f, line 2")


@pytest.mark.parametrize("path", ["dicom/00000007_000.dcm", "png/00000007_000.png", "images/00000007_000.jpg"])
def test_images_of_the_cloud_copy_and_scaled_copies(root, path):
    (root / "images_001" / "images" / IMAGE).unlink()
    (root / "images_001" / "images").rmdir()
    (root / "images_001").rmdir()
    (root / path).parent.mkdir()
    (root / path).write_bytes(b"x")
    assert index_dataset("nih_chestxray14", root)[0].image_path == path
    assert index_dataset("nih_chestxray14", root)[0].image_id == IMAGE


def test_labels_of_a_bare_official_list(root):
    # the last line has no newline, other copies have Windows line ends
    (root / "test_list.txt").write_text(f"00000001_000.png\r\n{IMAGE}")
    assert index_dataset("nih_chestxray14", root)[0].split == "test"
