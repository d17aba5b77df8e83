import math
from pathlib import Path

import pytest

from fx_monai.data.manifest import Box, Classes, Manifest, Mask, Record
from fx_monai.errors import DataError

CLASSES = Classes(labels=("a", "b"), boxes=("x",), masks=("m",), exclusive_labels=True)


def record(image_id="1", **changes):
    values = {"dataset": "d", "image_id": image_id, "image_path": f"{image_id}.png", "width": 100, "height": 50}
    return Record(**{**values, **changes})


def make(records, root=Path(".")):
    return Manifest.from_records(records, dataset="d", classes=CLASSES, root=root, notes=["one note"])


def test_round_trip_through_parquet(tmp_path):
    full = record(
        labels=[1.0, -1.0],
        boxes=[Box(1, 2, 30, 40, 0, "R1")],
        boxes_annotated=[0],
        masks=[Mask(0, "polygon", "[[1,1,2,1,2,2]]")],
        masks_annotated=[0],
        reader_labels=[("R1", [1.0, 0.0])],
        spacing_mm_x=0.5,
        age_years=44,
        patient_id="d:7",
        source_image="other/9",
    )
    empty = record("2")
    make([full, empty], tmp_path).write(tmp_path / "m.parquet")
    read = Manifest.read(tmp_path / "m.parquet")
    assert read.classes == CLASSES
    assert read.notes == ("one note",)
    assert read.root == tmp_path.resolve()
    assert read[0] == full or (math.isnan(read[0].spacing_mm_y) and read[0].boxes == full.boxes)
    assert read[1].boxes_annotated == []
    assert [r.image_id for r in read] == ["1", "2"]
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [Box(5, 5, 5, 9, 0)]}, r"d, image 1: box \(5, 5, 5, 9\) has no area"),
        ({"boxes": [Box(5, 5, math.nan, 9, 0)]}, "has no area"),
        ({"boxes": [Box(5, 5, 105, 9, 0)]}, "lies outside the image. Expected xyxy pixels inside 100 x 50"),
        ({"boxes": [Box(5, 5, 9, 9, 3)]}, "box class index 3. Expected 0 to 0"),
        ({"masks_annotated": [1]}, "mask class index 1"),
        ({"labels": [1.0]}, "1 labels. Expected 2 labels"),
    ],
)
def test_broken_annotations_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make([record(**changes)])


def test_same_image_twice_is_refused():
    with pytest.raises(DataError, match="more than one record"):
        make([record(), record()])


def test_reading_something_else(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        Manifest.read(tmp_path / "no.parquet")
    (tmp_path / "x.parquet").write_text("words")
    with pytest.raises(DataError, match="not a manifest"):
        Manifest.read(tmp_path / "x.parquet")


def test_columns_by_name():
    manifest = make([record(labels=[1.0, 0.0]), record("2")])
    assert manifest.column("image_id") == ["1", "2"]
    assert manifest.labels()[0].tolist() == [1, 0]
    assert all(math.isnan(v) for v in manifest.labels()[1])
    with pytest.raises(KeyError, match="width"):
        manifest.column("widht")
