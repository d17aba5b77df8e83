import math

import numpy as np
import pytest
from PIL import Image

from fx_monai.data.index import index_dataset
from fx_monai.data.rasterise import rasterise
from fx_monai.data.readers.shenzhen import read_about
from fx_monai.errors import DataError
from tests.builders import picture

NORMAL, ILL, UNMASKED = "CHNCXR_0001_0", "CHNCXR_0327_1", "CHNCXR_0330_1"


@pytest.fixture
def tree(tmp_path):
    base = tmp_path / "ChinaSet_AllFiles"
    for number, name in enumerate((NORMAL, ILL, UNMASKED)):
        picture(base / "CXR_png" / f"{name}.png", (30, 20 + number))
    (base / "CXR_png" / "Thumbs.db").write_bytes(b"x")
    (base / "CXR_png" / "._CHNCXR_0001_0.png").write_bytes(b"x")
    (base / "ClinicalReadings").mkdir()
    (base / "ClinicalReadings" / f"{NORMAL}.txt").write_text("male 45yrs\nnormal")
    (base / "ClinicalReadings" / f"{ILL}.txt").write_bytes(b"Female , 6 months\nsecondary PTB \x93left\x94")
    return tmp_path


def test_labels_and_readings(tree):
    normal, ill, other = index_dataset("shenzhen", tree)
    assert [r.labels for r in (normal, ill, other)] == [[0], [1], [1]]
    assert (normal.sex, normal.age_years, normal.width, normal.height) == ("M", 45, 30, 20)
    assert (ill.sex, ill.age_years) == ("F", 0.5)
    assert (other.sex, math.isnan(other.age_years)) == ("", True)
    assert (normal.patient_id, normal.source_image) == ("shenzhen:1", "shenzhen/CHNCXR_0001_0")
    # no lung mask was downloaded: unknown, not empty
    assert all(r.masks == r.masks_annotated == [] for r in (normal, ill, other))


def test_a_lung_mask_that_is_missing_is_unknown(tree):
    mask = np.zeros((21, 30), np.uint8)
    mask[4:9] = 255
    folder = tree / "mask" / "mask"
    folder.mkdir(parents=True)
    Image.fromarray(mask).convert("RGB").save(folder / f"{ILL}_mask.png")
    manifest = index_dataset("shenzhen", tree)
    assert manifest.classes.masks == ("lungs",)
    assert [r.masks_annotated for r in manifest] == [[], [0], []]
    assert np.array_equal(rasterise(manifest[1].masks[0], manifest[1], tree), mask > 0)


def test_findings_and_lesions_of_the_newer_site(tree):
    notes = tree / "ChinaSet_AllFiles" / "Annotations-2"
    for name in (f"{ILL}_Pleural_Effusion_1", f"{ILL}_Pleural_Effusion_2", f"{UNMASKED}_Cavity_1"):
        picture(notes / "masks" / f"{name}.png", (30, 21))
    (notes / "Statistics_ShenzhenDataset_US.csv").write_text(
        f"imagename,Cavity,Pleural_Effusion,Miliary\n{ILL}.png,1,1,0\n{UNMASKED}.png,1,0,\n"
    )
    manifest = index_dataset("shenzhen", tree)
    normal, ill, other = manifest
    assert manifest.classes.labels == ("Tuberculosis", "Cavity", "Pleural_Effusion", "Miliary")
    assert manifest.classes.masks == ("lungs", "Cavity", "Pleural_Effusion")
    # the table lists tuberculosis only
    np.testing.assert_equal(normal.labels, [0, np.nan, np.nan, np.nan])
    np.testing.assert_equal(other.labels, [1, 1, 0, np.nan])
    assert [m.class_index for m in ill.masks] == [2, 2]
    # its cavity is noted and not drawn
    assert ill.masks_annotated == [2]
    assert other.masks_annotated == [1, 2]
    assert normal.masks_annotated == []


@pytest.mark.parametrize(
    ("text", "sex", "years"),
    [
        ("male 45yrs", "M", 45),
        ("Female, 33yrs", "F", 33),
        ("MALE , 2 days\n", "M", 2 / 365.25),
        ("\ufefffemale 7month", "F", 7 / 12),
        ("male", "M", None),
        ("bilateral PTB", "", None),
    ],
)
def test_readings(tmp_path, text, sex, years):
    path = tmp_path / "a.txt"
    path.write_text(text)
    found = read_about(path)
    assert found[0] == sex
    assert found[1] == pytest.approx(years) if years is not None else math.isnan(found[1])


def test_refuses(tree):
    base = tree / "ChinaSet_AllFiles"
    picture(base / "CXR_png" / "CHNCXR_0002.png")
    with pytest.raises(DataError, match=r"CXR_png/CHNCXR_0002.png: the name tells no label"):
        index_dataset("shenzhen", tree)
    (base / "CXR_png" / "CHNCXR_0002.png").unlink()
    (base / "Annotations").mkdir()
    (base / "Annotations" / "Statistics_ShenzhenDataset.csv").write_text(f"imagename,Cavity\n{ILL},yes\n")
    with pytest.raises(DataError, match="line 2, column Cavity: 'yes'"):
        index_dataset("shenzhen", tree)
