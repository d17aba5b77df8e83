import json
import math

import pytest

from fx_monai.data.index import index_dataset
from fx_monai.data.readers.voc_xml import read_voc_boxes
from fx_monai.errors import DataError
from tests.builders import picture

NAMES = ("health/h0001", "sick/s0001", "tb/tb0001", "tb/tb1199", "test/test_0001", "extra/shenzhen/CHNCXR_0007_1")
XML = """<annotation><size><width>2048</width><height>1024</height><depth>1</depth></size>
<object><name>{name}</name><bndbox><xmin>401</xmin><ymin>101</ymin><xmax>800</xmax><ymax>300</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def tree(tmp_path):
    base = tmp_path / "TBX11K"
    for name in NAMES:
        picture(base / "imgs" / f"{name}.png", (512, 512), mode="RGB")
    (base / "lists").mkdir()
    (base / "lists" / "TBX11K_train.txt").write_text("health/h0001.png\ntb/tb0001.png\ntb/tb1199.png")
    (base / "lists" / "TBX11K_val.txt").write_text("sick/s0001.png\n")
    return base


def write_json(base, name="TBX11K_trainval.json", **image):
    content = {
        "images": [
            {"id": 7, "file_name": "tb/tb0001.png", "width": 512, "height": 512, **image},
            {"id": 8, "file_name": "health/h0001.png", "width": 512, "height": 512},
        ],
        "annotations": [
            {"id": 9, "image_id": 7, "category_id": 1, "bbox": [100.25, 50.5, 99.5, 100.0]},
            {"id": 10, "image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40]},
        ],
        "categories": [
            {"id": 1, "name": "ActiveTuberculosis"},
            {"id": 2, "name": "ObsoletePulmonaryTuberculosis"},
            {"id": 3, "name": "PulmonaryTuberculosis"},
        ],
    }
    folder = base / "annotations" / "json"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def write_xml(base, name="ActiveTuberculosis"):
    folder = base / "annotations" / "xml"
    folder.mkdir(parents=True)
    (folder / "tb0001.xml").write_text(XML.format(name=name))


def by_id(base):
    return {r.image_id.split("/")[-1][:-4]: r for r in index_dataset("tbx11k", base.parent)}


def test_labels_boxes_and_splits(tree):
    write_json(tree)
    found = by_id(tree)
    assert [found[n].labels for n in ("h0001", "s0001", "tb0001")] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    boxes = found["tb0001"].boxes
    assert [(b.x1, b.y1, b.x2, b.y2, b.class_index) for b in boxes] == [
        (100.25, 50.5, 199.75, 150.5, 0),
        (10, 20, 40, 60, 1),
    ]
    assert found["h0001"].boxes_annotated == found["s0001"].boxes_annotated == [0, 1]
    # a tuberculosis image that nobody boxed
    assert (found["tb1199"].boxes, found["tb1199"].boxes_annotated) == ([], [])
    assert [found[n].split for n in ("h0001", "s0001", "test_0001")] == ["train", "val", "test"]


def test_withheld_and_borrowed_labels_are_unknown(tree):
    write_json(tree)
    found = by_id(tree)
    for name in ("test_0001", "CHNCXR_0007_1"):
        assert all(math.isnan(value) for value in found[name].labels)
        assert found[name].boxes_annotated == []
    extra = found["CHNCXR_0007_1"]
    assert (extra.patient_id, extra.source_image) == ("shenzhen:7", "shenzhen/CHNCXR_0007_1")
    assert found["h0001"].source_image == ""
    assert "1 images of imgs/extra" in index_dataset("tbx11k", tree).notes[0]


def test_xml_is_scaled_from_the_original_and_counts_from_one(tree):
    write_xml(tree)
    box = by_id(tree)["tb0001"].boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (100, 50, 200, 150)


def test_json_wins_over_xml_and_files_of_both_parts_are_joined(tree):
    write_xml(tree)
    write_json(tree, "TBX11K_train.json")
    assert len(by_id(tree)["tb0001"].boxes) == 1
    write_json(tree, "TBX11K_val.json")
    assert len(by_id(tree)["tb0001"].boxes) == 2


def test_the_uncertain_kind_is_a_class_where_it_occurs(tree):
    write_xml(tree, "pulmonaryTuberculosis")
    manifest = index_dataset("tbx11k", tree)
    assert len(manifest.classes.boxes) == 3
    assert next(r for r in manifest if r.boxes).boxes[0].class_index == 2


def test_listed_images_must_be_there(tree):
    (tree / "imgs" / "sick" / "s0001.png").unlink()
    with pytest.raises(DataError, match=r"1 annotated images are not there \(sick/s0001.png\)"):
        index_dataset("tbx11k", tree)


def test_refuses(tree):
    write_json(tree, width=2048)
    with pytest.raises(DataError, match="annotation 9: the image is 2048 x 512. Expected 512 x 512"):
        index_dataset("tbx11k", tree)
    (tree / "annotations" / "json" / "TBX11K_trainval.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="not a COCO file of this set"):
        index_dataset("tbx11k", tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + XML.format(name="&b;"), "a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname">' + XML.format(name="x"), "a document type"),
        ("<annotation><size>", "unreadable"),
        ("<annotation/>", "there is no size/width"),
        (XML.format(name="x").replace("2048", "0"), "size 0 x 1024"),
        (XML.format(name="x").replace("401", "four"), "unreadable"),
    ],
)
def test_broken_or_hostile_xml_is_refused(tmp_path, text, message):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_voc_boxes(path, frame=(512, 512))
