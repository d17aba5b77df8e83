import math

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.hannover_covid import intensive_care
from fx_monai.errors import DataError
from tests.builders import picture

HEADER = "patient_id,image_id,sex,age,icu_admission_offset,icu_release_offset,modality,projection,crp_val,d-dimer_val\n"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "data.csv").write_text(
        HEADER + "p1,aa11,m,,-2.0,2.0,CR,ap,inf,\np1,bb22,m,,1,4,CR,pa,,-inf\np2,cc33,f,,,,DX,pa,,\n"
    )
    for name in ("aa11", "bb22", "cc33"):
        picture(tmp_path / "png" / f"{name}.png", (40, 50))
    return tmp_path


def test_intensive_care_is_that_of_the_day(tree):
    first, second, third = index_dataset("hannover_covid", tree)
    assert (first.labels, second.labels) == ([1, 1], [1, 0])
    assert math.isnan(third.labels[1])
    assert (first.patient_id, first.view, first.sex) == ("hannover:p1", "AP", "M")
    assert math.isnan(first.age_years)
    assert (first.width, first.height, first.source_image) == (40, 50, "covid_chestxray/aa11")


@pytest.mark.parametrize(
    ("begin", "end", "value"), [("0", "0", 1), ("-inf", "inf", 1), ("-3", "-1", 0), ("", "4", None), ("-2", "", None)]
)
def test_days(begin, end, value):
    found = intensive_care(begin, end, where="")
    assert found == value if value is not None else math.isnan(found)


def test_refuses(tree):
    path = tree / "data.csv"
    path.write_text(path.read_text().replace("-2.0", "two"))
    with pytest.raises(DataError, match="data.csv, line 2, column icu_admission_offset"):
        index_dataset("hannover_covid", tree)
    (tree / "png" / "cc33.png").unlink()
    path.write_text(path.read_text().replace("two", "2"))
    with pytest.raises(DataError, match=r"1 annotated images are not there \(cc33\)"):
        index_dataset("hannover_covid", tree)
