import math

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from tests.native_trees import nih_google


def test_labels_and_links(tmp_path):
    second, first = index_dataset("nih_google", nih_google(tmp_path))
    assert first.labels == [0, 1, 1, 0]
    # a blank is no answer
    assert math.isnan(second.labels[3])
    assert (first.patient_id, first.source_image) == ("nih:211", "nih_chestxray14/00000211_013.png")
    assert (first.split, second.split) == ("val", "test")
    assert (first.view, first.sex, first.age_years) == ("AP", "M", 58)


def test_a_table_per_set(tmp_path):
    nih_google(tmp_path)
    whole = tmp_path / "google2019_nih-chest-xray-labels.csv"
    header, first, second = whole.read_text().splitlines()
    whole.unlink()
    folder = tmp_path / "four_findings_expert_labels"
    folder.mkdir()
    for part, row in (("validation", first), ("test", second)):
        lines = (line.rpartition(",")[0] for line in (header, row))
        (folder / f"{part}_labels.csv").write_text("\n".join(lines) + "\n")
    assert index_dataset("nih_google", tmp_path).column("split") == ["test", "val"]
    (folder / "test_labels.csv").unlink()
    with pytest.raises(DataError, match="there is no google2019_nih-chest-xray-labels.csv or test_labels.csv"):
        index_dataset("nih_google", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NO,YES", "NO,perhaps", "line 2, column Pneumothorax: 'PERHAPS'"),
        (",val", ",third", "line 2, column Set Id: 'third'"),
        ("00000007_000", "scan", "line 3: 'scan.png' is not an NIH file name"),
    ],
)
def test_refuses(tmp_path, old, new, message):
    path = nih_google(tmp_path) / "google2019_nih-chest-xray-labels.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        index_dataset("nih_google", tmp_path)
