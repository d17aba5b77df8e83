import pytest
from PIL import Image

from fx_monai.data.readers.files import ImageFolder, files_by_name, find_only
from fx_monai.errors import DataError
from tests.dicom_builder import dicom_file


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return path


def test_images_are_found_by_path_by_name_and_without_suffix(tmp_path):
    one, two = picture(tmp_path / "images/a/1.png"), picture(tmp_path / "images/b/1.png")
    three = picture(tmp_path / "images/b/3.jpg")
    (tmp_path / "images/Thumbs.db").write_bytes(b"x")
    folder = ImageFolder(tmp_path)
    assert folder.find("a/1.png", where="w") == one
    assert folder.find("b\\1.png", where="w") == two
    assert folder.find("3", where="w") == three
    assert folder.find("9.png", where="w") == tmp_path / "images/9.png"
    assert folder.find("/../c/9.png", where="w") == tmp_path / "images/c/9.png"
    assert folder.holds(one)
    assert not folder.holds(folder.find("9.png", where="w"))
    assert not folder.holds(folder.find("Thumbs.db", where="w"))
    assert folder.image_id(one) == "a/1.png"


def test_absolute_and_prefixed_paths_fall_back_to_the_name(tmp_path):
    one, two = picture(tmp_path / "images/a/1.png"), picture(tmp_path / "images/b/2.png")
    folder = ImageFolder(tmp_path)
    assert folder.find("/data/old/1.png", where="w") == one
    assert folder.find("2.png", where="w") == two


def test_names_that_fit_several_files_are_refused(tmp_path):
    picture(tmp_path / "images/a/1.png")
    picture(tmp_path / "images/b/1.png")
    with pytest.raises(DataError, match=r"w: image '1.png': no of several files|image '1.png'"):
        ImageFolder(tmp_path).find("1.png", where="w")
    with pytest.raises(DataError, match="image 'c/1.png'"):
        ImageFolder(tmp_path).find("c/1.png", where="w")


def test_two_names_for_one_file_are_refused(tmp_path):
    picture(tmp_path / "images/1.png")
    folder = ImageFolder(tmp_path)
    folder.find("train/1.png", where="w")
    with pytest.raises(DataError, match="'val/1.png': its file is already the one of 'train/1.png'"):
        folder.find("val/1.png", where="w")


def test_a_named_folder_must_be_there(tmp_path):
    with pytest.raises(DataError, match="there is no folder 'pngs'"):
        ImageFolder(tmp_path, "pngs")


def test_one_file_of_several_has_to_be_chosen(tmp_path):
    with pytest.raises(DataError, match="there is no table"):
        find_only(tmp_path, "*.csv", what="table", option="table")
    (tmp_path / "a.csv").touch()
    assert find_only(tmp_path, "*.csv", what="table", option="table").name == "a.csv"
    (tmp_path / "b.csv").touch()
    with pytest.raises(DataError, match=r"2 files that could be the table \(a.csv, b.csv\).*option table=FILE"):
        find_only(tmp_path, "*.csv", what="table", option="table")


def test_the_first_folder_wins_and_without_any_all_are_searched(tmp_path):
    one, two = picture(tmp_path / "x/1.png"), picture(tmp_path / "y/1.png")
    assert files_by_name(tmp_path, ("y", "x"), (".png",)) == {"1.png": two}
    assert files_by_name(tmp_path, ("z",), (".png",)) == {"1.png": one}


def test_dicom_files_named_by_a_uid_alone(tmp_path):
    for uid in ("1.2.840.1", "1.2.840.2"):
        dicom_file(tmp_path / f"{uid}.dcm").rename(tmp_path / uid)
    (tmp_path / "notes.1").write_text("no image")
    folder = ImageFolder(tmp_path)
    assert folder.find("1.2.840.2", where="t").name == "1.2.840.2"
    assert not folder.holds(tmp_path / "notes.1")
    assert not folder.holds(folder.find("1.2.840", where="t"))
