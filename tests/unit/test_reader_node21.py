import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.pixels import read_pixels
from fx_monai.errors import ConfigError, DataError
from tests.builders import metaimage, picture

ROWS = """,height,img_name,label,width,x,y
0,12,n0912.mha,1,20,30,10
1,8,n0912.mha,1,6,2,40
2,0,c0007.mha,0,0,0,0
"""


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "cxr_images" / "proccessed_data"
    image = np.zeros((60, 80), np.uint16)
    image[10:22, 30:50] = 900
    metaimage(folder / "images" / "n0912.mha", image)
    metaimage(folder / "images" / "c0007.mha", image)
    (folder / "metadata.csv").write_text(ROWS)
    return tmp_path


def test_boxes_lie_on_the_nodule_and_rows_of_an_image_are_joined(tree):
    without, nodule = index_dataset("node21", tree)
    assert [(b.x1, b.y1, b.x2, b.y2) for b in nodule.boxes] == [(30, 10, 50, 22), (2, 40, 8, 48)]
    assert (nodule.width, nodule.height) == (80, 60)
    assert (nodule.labels, without.labels, without.boxes_annotated) == ([1], [0], [0])
    pixels = read_pixels(tree / nodule.image_path)
    # rows are y: the first box is where the image is bright
    assert pixels[10:22, 30:50].min() == 65535
    assert np.count_nonzero(pixels) == 12 * 20


def test_releases_differ_in_names_and_boxes(tree):
    folder = tree / "cxr_images" / "original_data"
    picture(folder / "images" / "n0912.png", (200, 100))
    (folder / "metadata.csv").write_text("img_name,label,x,y,width,height\nn0912.mha,1,100.0,20,60,40\n")
    record = index_dataset("node21", tree, options={"release": "original"})[0]
    assert (record.width, record.height, record.image_path.split(".")[-1]) == (200, 100, "png")
    assert record.boxes[0].x2 == 160
    assert len(index_dataset("node21", tree)) == 2
    with pytest.raises(ConfigError, match="option release"):
        index_dataset("node21", tree, options={"release": "raw"})


def test_originals_give_source_and_patient(tree):
    (tree / "cxr_images" / "filenames.csv").write_text(
        "node21,original\nc0007.mha,images/00000211_013.png\nn0912.mha,JPCLN012.IMG\n"
    )
    without, nodule = index_dataset("node21", tree)
    assert (without.source_image, without.patient_id) == ("nih_chestxray14/00000211_013.png", "nih:211")
    assert (nodule.source_image, nodule.patient_id) == ("jsrt/JPCLN012", "jsrt:JPCLN012")
    assert index_dataset("node21", tree).notes == ()


def test_openi_and_padchest_names(tree):
    name = "216840111366964012373310883942009117084022290_00-014-025"
    (tree / "cxr_images" / "list.txt").write_text(f"n0912 CXR1162_IM-0107-1001.png\nc0007.mha {name}.png\n")
    without, nodule = index_dataset("node21", tree)
    assert (nodule.source_image, nodule.patient_id) == ("openi/CXR1162_IM-0107-1001", "openi:1162")
    assert (without.source_image, without.patient_id) == (f"padchest/{name}.png", "node21:image:c0007")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("c0007.mha,0,0", "c0007.mha,2,0", "line 4, column label: '2'"),
        ("2,0,c0007.mha,0,0", "2,9,c0007.mha,0,9", "line 4, column label: '0' with a box of 9 x 9"),
        ("c0007", "n0912", "line 4, column label: '0' with a box of 0 x 0"),
        ("12,n0912.mha,1,20", "0,n0912.mha,1,0", "line 2: box .* has no area"),
        ("1,20,30,10", "1,20,70,10", "line 2: box .* lies outside the image"),
        ("img_name", "name", "the column 'img_name' is missing"),
    ],
)
def test_refuses(tree, old, new, message):
    path = tree / "cxr_images" / "proccessed_data" / "metadata.csv"
    path.write_text(ROWS.replace(old, new))
    with pytest.raises(DataError, match=message):
        index_dataset("node21", tree)


def test_v1_has_images_and_table_at_the_top(tmp_path):
    metaimage(tmp_path / "images" / "n0001.mha", np.zeros((40, 40), np.uint8))
    (tmp_path / "metadata.csv").write_text("height,img_name,label,width,x,y\n5,n0001.mha,1,5,5,5\n")
    assert len(index_dataset("node21", tmp_path)) == 1
