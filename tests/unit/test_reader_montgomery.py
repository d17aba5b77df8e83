"""What test_readers.py leaves open: links to the set's copies, sides, strays, sizes."""

import math

import numpy as np
import pytest
from PIL import Image

from fx_monai.data.groups import linked_groups
from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from tests.builders import picture


def half(path, size, *, right):
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, size[0] // 2 :] = 255 if right else 0
    mask[:, : size[0] // 2] = 0 if right else 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write(root, *, size=(40, 48), swapped=False):
    base = root / "NLM-MontgomeryCXRSet" / "MontgomerySet"
    picture(base / "CXR_png" / "MCUCXR_0007_1.png", size)
    half(base / "ManualMask" / "leftMask" / "MCUCXR_0007_1.png", size, right=not swapped)
    half(base / "ManualMask" / "rightMask" / "MCUCXR_0007_1.png", size, right=swapped)
    for stray in ("Thumbs.db", ".DS_Store", "._MCUCXR_0007_1.png"):
        (base / "CXR_png" / stray).write_bytes(b"x")
    return base


def test_copies_in_tbx11k_are_the_same_patient_and_image(tmp_path):
    write(tmp_path / "a")
    picture(tmp_path / "b" / "imgs" / "extra" / "montgomery" / "MCUCXR_0007_1.png")
    picture(tmp_path / "b" / "imgs" / "health" / "h0001.png")
    copies = index_dataset("tbx11k", tmp_path / "b")
    assert copies.column("source_image") == ["montgomery/MCUCXR_0007_1", ""]
    groups = linked_groups([index_dataset("montgomery", tmp_path / "a"), copies])
    assert groups.tolist() == [0, 0, 1]


def test_the_patients_left_stands_at_the_images_right(tmp_path):
    write(tmp_path / "a")
    assert index_dataset("montgomery", tmp_path / "a").notes == ()
    write(tmp_path / "b", swapped=True)
    assert "left and right look swapped" in index_dataset("montgomery", tmp_path / "b").notes[0]


def test_only_original_sizes_tell_the_spacing(tmp_path):
    write(tmp_path)
    assert math.isnan(index_dataset("montgomery", tmp_path)[0].spacing_mm_x)
    write(tmp_path, size=(4020, 4892))
    assert index_dataset("montgomery", tmp_path)[0].spacing_mm_x == pytest.approx(0.0875)


def test_a_reading_in_another_encoding(tmp_path):
    base = write(tmp_path)
    (base / "ClinicalReadings").mkdir()
    text = b"Patient's Sex: M\r\nPatient's Age: 031Y\r\ninfiltrate \x96 upper lobe"
    (base / "ClinicalReadings" / "MCUCXR_0007_1.txt").write_bytes(text)
    record = index_dataset("montgomery", tmp_path)[0]
    assert (record.sex, record.age_years) == ("M", 31)


def test_a_name_without_label_is_refused(tmp_path):
    base = write(tmp_path)
    picture(base / "CXR_png" / "MCUCXR_0008.png")
    with pytest.raises(DataError, match=r"CXR_png/MCUCXR_0008.png: the name tells no label"):
        index_dataset("montgomery", tmp_path)
