import pytest

from fx_monai.data.readers.tables import number, read_table, sex, view
from fx_monai.errors import DataError


def table(path, text):
    path.write_bytes(text.encode())
    return path


def test_blanks_byte_order_mark_and_empty_lines(tmp_path):
    path = table(tmp_path / "t.csv", '\ufeffImageId, EncodedPixels\r\na, -1\r\n\r\n"b, c", 1 2\r\n')
    read = read_table(path, columns=("ImageId", "EncodedPixels"))
    assert read.columns == ("ImageId", "EncodedPixels")
    assert read.rows == (
        (2, {"ImageId": "a", "EncodedPixels": "-1"}),
        (4, {"ImageId": "b, c", "EncodedPixels": "1 2"}),
    )


def test_trailing_commas_are_no_columns(tmp_path):
    read = read_table(table(tmp_path / "t.csv", "a,b,,\n1,2,,\n3,4\n"))
    assert read.columns == ("a", "b")
    assert [row for _, row in read.rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_names_replace_an_unusable_header(tmp_path):
    read = read_table(table(tmp_path / "t.csv", "x,y [a,b,c\n1,2\n"), names=("p", "q"))
    assert read.rows == ((2, {"p": "1", "q": "2"}),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: the file is empty"),
        ("a,b\n1\n", "t.csv, line 2: 1 fields. Expected 2 fields"),
        ("a,b\n1,2\n1,2,3\n", "t.csv, line 3: 3 fields. Expected 2 fields"),
        ("a,b,a\n1,2,3\n", "the column 'a' stands twice"),
        ("a,c\n1,2\n", "the column 'b' is missing. Expected the columns a, b; found a, c"),
        ('a,b\n1,"2\n', "t.csv: not a readable table"),
    ],
)
def test_broken_tables_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path / "t.csv", text), columns=("a", "b"))


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not a readable table"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["", "x", "nan", "inf"])
def test_cells_that_are_no_number_are_named(tmp_path, text):
    with pytest.raises(DataError, match=rf"t.csv, line 9, column w: '{text}' is not a number"):
        number(text, path=tmp_path / "t.csv", row=9, column="w")


def test_sexes():
    assert [sex(text) for text in ("Female", "m", "O", "")] == ["F", "M", "", ""]


@pytest.mark.parametrize(
    ("texts", "meaning"),
    [
        (("PA", "POSTEROANTERIOR", "pa"), "PA"),
        (("AP", "AP_horizontal", "ANTEROPOSTERIOR", "AP Supine"), "AP"),
        (("L", "LL", "RL", "LATERAL", "XTABLE LATERAL"), "LATERAL"),
        (("LPO", "RAO", "AP LLD", "PA RLD", "AP AXIAL", "L5 S1", "SWIMMERS", "COSTAL", "EXCLUDE", "OBLICUA"), "OTHER"),
        (("", "UNK", "GENERICA", "nan"), ""),
    ],
)
def test_views(texts, meaning):
    assert {view(text) for text in texts} == {meaning}
