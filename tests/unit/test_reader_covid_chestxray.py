import numpy as np
import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.covid_chestxray import parse_finding
from fx_monai.errors import DataError
from tests.builders import picture

HEADER = "patientid,offset,sex,age,finding,intubation_present,in_icu,view,modality,folder,filename,clinical_notes,,\n"
ROWS = """4,0,M,28,Pneumonia/Viral/COVID-19,Y,N,PA,X-ray,images,a b.jpg,"note,
over two lines",,
331b,,F,,No Finding,,,AP Supine,X-ray,images,b.png,,,
5,,,,todo,,,L,X-ray,images,c.png,,,
7,,,,Pneumonia/Bacterial,,,PA,X-ray,images,d.png,,,
6,,,,Pneumonia,,,Axial,CT,images,d.png,,,
6,,,,Pneumonia,,,PA,X-ray,volumes,e.nii.gz,,,
4,0,M,28,Pneumonia/Viral/COVID-19,Y,N,PA,X-ray,images,a b.jpg,,,
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "metadata.csv").write_text(HEADER + ROWS)
    for name in ("a b.jpg", "b.png", "c.png", "d.png"):
        picture(tmp_path / "images" / name, (20, 30), mode="RGB")
    return tmp_path


def test_a_finding_is_a_path_and_says_nothing_of_others(tree):
    manifest = index_dataset("covid_chestxray", tree)
    covid, healthy, unread, bacterial = manifest
    names = ("Bacterial", "COVID-19", "No Finding", "Pneumonia", "Viral", "intubation_present", "in_icu")
    assert manifest.classes.labels == names
    np.testing.assert_equal(covid.labels, [np.nan, 1, 0, 1, 1, 1, 0])
    np.testing.assert_equal(healthy.labels, [0, 0, 1, 0, 0, np.nan, np.nan])
    np.testing.assert_equal(bacterial.labels, [1, np.nan, 0, 1, np.nan, np.nan, np.nan])
    assert np.isnan(unread.labels).all()
    assert (covid.patient_id, covid.age_years, covid.source_image) == ("covidcxr:4", 28, "covid_chestxray/a b")
    assert [r.view for r in manifest] == ["PA", "AP", "LATERAL", "PA"]
    assert healthy.patient_id == "covidcxr:331b"


def test_ct_volumes_and_repeated_rows_are_counted(tree):
    notes = index_dataset("covid_chestxray", tree).notes
    assert notes == (
        "covid_chestxray: 2 rows are no radiographs; left out",
        "covid_chestxray: 1 rows repeat one; left out",
    )


def test_older_tables(tree):
    text = 'Patientid,finding,view,modality,filename\n2,"COVID-19, ARDS",PA,X-ray,b.png\n'
    (tree / "metadata.csv").write_text(text)
    manifest = index_dataset("covid_chestxray", tree)
    np.testing.assert_equal(manifest[0].labels, [1, 1, 0])


@pytest.mark.parametrize(
    ("text", "parts"),
    [("Pneumonia/Viral/COVID-19", ("Pneumonia", "Viral", "COVID-19")), ("todo", ()), ("Unknown", ()), ("", ())],
)
def test_findings(text, parts):
    assert parse_finding(text) == parts


def test_refuses(tree):
    (tree / "metadata.csv").write_text(HEADER + ROWS.replace("COVID-19,Y", "COVID-19,maybe"))
    with pytest.raises(DataError, match="line 3, column intubation_present: 'maybe'"):
        index_dataset("covid_chestxray", tree)
    (tree / "metadata.csv").write_text("patientid,finding\n")
    with pytest.raises(DataError, match="the columns filename, modality, view are missing"):
        index_dataset("covid_chestxray", tree)
