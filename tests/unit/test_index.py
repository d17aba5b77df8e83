import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Manifest
from fx_monai.errors import DataError
from tests.builders import coco_folder, csv_folder


def test_rows_are_ordered_and_written_whole(tmp_path):
    root = coco_folder(tmp_path / "c", count=12)
    manifest = index_dataset("coco", root)
    assert manifest.column("image_id") == sorted(f"{n}.png" for n in range(12))
    manifest.write(tmp_path / "m.parquet")
    again = Manifest.read(tmp_path / "m.parquet")
    assert list(map(str, again)) == list(map(str, manifest))
    assert again.classes == manifest.classes
    assert again.root == root


def test_missing_images_are_listed_up_to_five(tmp_path):
    root = csv_folder(tmp_path / "t", count=10)
    for number in range(7):
        (root / "images" / f"{number}.png").unlink()
    with pytest.raises(
        DataError, match=r"7 annotated images are not there \(0.png, 1.png, 2.png, 3.png, 4.png, \.\.\.\)"
    ):
        index_dataset("csv", root)
    manifest = index_dataset("csv", root, allow_missing_images=True)
    assert len(manifest) == 3
    assert any("7 annotated images are not there and were left out" in note for note in manifest.notes)


def test_no_image_at_all_is_refused_even_when_missing_ones_are_allowed(tmp_path):
    root = csv_folder(tmp_path / "t", count=2)
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image was found"):
        index_dataset("csv", root, allow_missing_images=True)


def test_an_in_house_dataset_may_have_its_own_name(tmp_path):
    manifest = index_dataset("ward_7", coco_folder(tmp_path / "c", count=2), options={"dataset": "coco"})
    assert manifest.dataset == "ward_7"
    assert manifest[0].dataset == "ward_7"
    assert manifest[0].patient_id == "ward_7:0"


def test_catalogue_options_reach_the_reader_and_given_ones_win(tmp_path):
    root = coco_folder(tmp_path / "c", count=2)
    (root / "annotations.json").rename(root / "output_coco.json")
    assert index_dataset("v7_lungs", root)[0].patient_id == "covidcxr:0"
    assert index_dataset("v7_lungs", root, options={"namespace": "other"})[0].patient_id == "other:0"


def test_annotations_only_keeps_images_that_are_not_there(tmp_path):
    root = csv_folder(tmp_path / "t", count=2)
    (root / "images" / "0.png").unlink()
    manifest = index_dataset("csv", root, annotations_only=True)
    assert [(r.image_path, r.width, r.height) for r in manifest] == [("images/0.png", 0, 0), ("images/1.png", 64, 64)]
