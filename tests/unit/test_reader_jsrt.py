import math

import numpy as np
import pytest
from PIL import Image

from fx_monai.data.index import index_dataset
from fx_monai.data.rasterise import rasterise
from fx_monai.data.readers.jsrt import parse_clinical, parse_landmarks
from fx_monai.errors import DataError

NODULES = (
    "JPCLN001.IMG\t5\t15\t53\tMale\t1634\t692\tmalignant\tl.upper lobe\tlung cancer\r"
    "JPCLN002.IMG\t3\t 17.5 \t?\tFemale\t20\t2000\tbenign \tr.lower lobe\ttuberculoma(?)\textra\r"
)
NORMAL = "JPCNN001.IMG   54  male     non-nodule\nJPCNN002.IMG \t ?\tfemale non-nodule\n"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "All247images").mkdir()
    for name in ("JPCLN001.IMG", "JPCLN002.img", "JPCNN001.IMG", "JPCNN002.IMG"):
        (tmp_path / "All247images" / name).write_bytes(b"")
    (tmp_path / "Clinical_Information").mkdir()
    (tmp_path / "Clinical_Information" / "CLNDAT_EN.txt").write_bytes(NODULES.encode())
    (tmp_path / "Clinical_Information" / "CNNDAT_EN.TXT").write_text(NORMAL)
    return tmp_path


def test_nodules_become_boxes_of_their_diameter(tree):
    first, second, normal, _ = index_dataset("jsrt", tree)
    box = first.boxes[0]
    assert (box.x1 + box.x2) / 2 == pytest.approx(1634, abs=1e-3)
    assert (box.x2 - box.x1) * 0.175 == pytest.approx(15, abs=1e-3)
    # cut at the image's edge
    assert (second.boxes[0].x1, second.boxes[0].y2) == (0, 2048)
    assert (first.labels, second.labels, normal.labels) == ([1, 1], [1, 0], [0, 0])
    assert (normal.boxes, normal.boxes_annotated) == ([], [0])
    assert (first.age_years, first.sex, math.isnan(second.age_years)) == (53, "M", True)
    assert (first.width, first.spacing_mm_x, first.source_image) == (2048, pytest.approx(0.175), "jsrt/JPCLN001")
    assert (first.split, second.split) == ("train", "test")


def test_without_the_text_the_place_is_unknown(tree):
    (tree / "Clinical_Information" / "CLNDAT_EN.txt").unlink()
    first, _, normal, _ = index_dataset("jsrt", tree)
    assert first.labels[0] == 1
    assert math.isnan(first.labels[1])
    assert first.boxes_annotated == []
    assert normal.boxes_annotated == [0]


def test_scr_masks_and_landmarks_are_in_half_the_grid(tree):
    mask = np.zeros((1024, 1024), np.uint8)
    mask[300:600, 100:400] = 255
    for organ in ("right lung", "heart"):
        folder = tree / "scratch" / "fold1" / "masks" / organ
        folder.mkdir(parents=True)
        Image.fromarray(mask).convert("P").save(folder / "JPCLN001.gif")
    landmarks = tree / "scratch" / "fold2" / "landmarks"
    landmarks.mkdir(parents=True)
    (landmarks / "JPCLN002.pfs").write_text(
        "[Label=right lung]\n4\n{ 100, 300 }\n{400.0, 300}\n{400, 600}\n{100, 600}\n[Label=nose]\n{1, 1}\n"
    )
    manifest = index_dataset("jsrt", tree)
    first, second, normal, _ = manifest
    assert [manifest.classes.masks[i] for i in first.masks_annotated] == ["right lung", "heart"]
    assert np.array_equal(rasterise(first.masks[0], first, tree), mask > 0)
    assert second.masks_annotated == [1]
    whole = rasterise(second.masks[0], second, tree)
    assert whole.shape == (2048, 2048)
    assert np.abs(whole[::2, ::2].astype(int) - (mask > 0)).sum() < 1300
    # no SCR file: unknown
    assert normal.masks_annotated == []


def test_ragged_lines():
    found = parse_clinical(NODULES, "f") | parse_clinical(NORMAL, "f")
    assert found["JPCLN002"]["size"] == "17.5"
    assert found["JPCNN002"]["sex"] == "female"
    assert len(found) == 4


@pytest.mark.parametrize("line", ["JPCLN003.IMG 9 15 53 Male 1 2 benign", "JPCLN003.IMG\t3\t15\t53\tMale\t1634"])
def test_lines_that_cannot_be_read_are_named(line):
    with pytest.raises(DataError, match="CLNDAT_EN.txt, line 2: a line that can't be read"):
        parse_clinical(f"\n{line}\n", "CLNDAT_EN.txt")


def test_images_of_the_text_must_be_there(tree):
    (tree / "All247images" / "JPCNN002.IMG").unlink()
    with pytest.raises(DataError, match=r"1 annotated images are not there \(JPCNN002\)"):
        index_dataset("jsrt", tree)


def test_landmarks_are_doubled():
    outline = parse_landmarks("[Label=heart]\n{1, 2}\n{3, 4}\n{5.5, 6}")["heart"]
    assert outline == [[2, 4, 6, 8, 11, 12]]
