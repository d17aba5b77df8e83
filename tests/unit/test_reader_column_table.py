import gzip
import math

import numpy as np
import pyarrow as pa
import pytest

from fx_monai.data.manifest import SCHEMA
from fx_monai.data.readers.column_table import ColumnTable, label_columns
from fx_monai.data.readers.files import files_there, sizes_of
from fx_monai.data.readers.tables import choice, label_value, size
from fx_monai.data.table import build_table, leave_out
from fx_monai.errors import ConfigError, DataError
from tests.builders import picture


def table(path, text, columns=("a", "b"), optional=()):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return ColumnTable(path, columns=columns, optional=optional)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_columns_of_text(tmp_path, name):
    text = '\ufeff,b, a ,report\r\n0, 1 ,"x, y","two\nlines"\r\n1,,z,\r\n'
    read = table(tmp_path / name, text, optional=("c",))
    assert len(read) == 2
    assert read.text("a").to_pylist() == ["x, y", "z"]
    assert read.text("b").to_pylist() == ["1", ""]
    # a column that isn't there, or wasn't asked for, is blank
    assert read.text("c").to_pylist() == read.text("report").to_pylist() == ["", ""]


def test_long_numbers_and_words_for_nothing_stay_text(tmp_path):
    read = table(tmp_path / "t.csv", f"a,b\n{'9' * 40},nan\nNULL,1e5\n")
    assert read.text("a").to_pylist() == ["9" * 40, "NULL"]
    assert read.text("b").to_pylist() == ["nan", "1e5"]


def test_meanings_are_asked_for_once_per_different_cell(tmp_path):
    asked = []
    read = table(tmp_path / "t.csv", "a,b\n1,2\n1,3\n2,3\n")
    assert read.mapped("a", lambda cell: asked.append(cell) or int(cell)).tolist() == [1, 1, 2]
    assert sorted(asked) == ["1", "2"]
    labels = label_columns(table(tmp_path / "t.csv", "a,b\n1.0,-1\n,0\n"), ("b", "a"))
    np.testing.assert_array_equal(labels, [[-1, 1], [0, math.nan]])


def test_the_first_wrong_row_is_named(tmp_path):
    read = table(tmp_path / "t.csv", "a,b\n1,1\n1,x\n0,x\n")
    with pytest.raises(DataError, match=r"t.csv, row 3, column b: 'x'. Expected 1 \(present\)"):
        read.mapped("b", label_value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: the file is empty"),
        ("a\n1\n", "the column 'b' is missing"),
        ("a,b,a\n1,2,3\n", "the column 'a' stands twice"),
        ("a,b\n1,2\nsecret\n", "t.csv, row 3: not a readable table of 2 columns"),
        ("a,b\n1,2\nsecret,3,4\n", "t.csv, row 3: not a readable table"),
    ],
)
def test_broken_tables_are_refused_without_what_they_tell(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        table(tmp_path / "t.csv", text)
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_text_and_cut_archives(tmp_path):
    for name, content in (("t.csv", b"a,b\n\xff\xfe,1\n"), ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99)[:-9])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a readable table"):
            ColumnTable(tmp_path / name, columns=("a", "b"))


def test_rows_of_a_manifest_from_columns():
    columns = {"image_id": pa.array(["a", "b"]), "image_path": ["a.png", "b.png"], "width": np.array([3, 4])}
    built = build_table("d", columns, np.array([[1, math.nan], [0, -1]], dtype=np.float32))
    assert built.schema.equals(SCHEMA)
    first, second = built.to_pylist()
    assert (first["dataset"], second["width"], second["height"], first["view"]) == ("d", 4, 0, "")
    assert second["labels"] == [0, -1]
    assert math.isnan(first["labels"][1])
    assert first["boxes"] == first["masks_annotated"] == first["reader_labels"] == []
    assert math.isnan(first["age_years"])
    assert leave_out(built, ["a"]).column("image_id").to_pylist() == ["b"]
    with pytest.raises(DataError, match="d, image a: the image id stands in more than one row"):
        build_table("d", {**columns, "image_id": pa.array(["a", "a"])})
    assert build_table("d", {"image_id": pa.array([], pa.string()), "image_path": []}).num_rows == 0


def test_files_and_their_sizes(tmp_path):
    picture(tmp_path / "x" / "a.png", (5, 7))
    (tmp_path / "x" / "broken.png").write_bytes(b"no")
    paths = pa.array(["x/a.png", "x/b.png", "y/a.png", "x/broken.png", "a.png"])
    there = files_there(tmp_path, paths)
    assert there.tolist() == [True, False, False, True, False]
    assert sizes_of(tmp_path, paths, there).tolist() == [[5, 7], [0, 0], [0, 0], [0, 0], [0, 0]]


def test_sizes_and_choices():
    assert [size(text) for text in ("1024", "512.0")] == [1024, 512]
    for text in ("", "0", "-3", "1.5", "big"):
        with pytest.raises(DataError, match=f"'{text}'. Expected a number of pixels"):
            size(text)
    assert choice({}, "how", ("a", "b")) == "a"
    assert choice({"how": "B"}, "how", ("a", "b")) == "b"
    with pytest.raises(ConfigError, match="option how: 'c'. Expected one of a, b"):
        choice({"how": "c"}, "how", ("a", "b"))
