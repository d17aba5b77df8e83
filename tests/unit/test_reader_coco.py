"""What test_readers.py leaves open: patients, frames, incomplete annotations, refusals."""

import json

import pytest
from PIL import Image

from fx_monai.data.index import index_dataset
from fx_monai.errors import DataError
from tests.builders import coco_folder


@pytest.fixture
def root(tmp_path):
    return coco_folder(tmp_path / "c", count=3)


def change(root, edit):
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_patient_comes_from_metadata_entry_or_tag(root):
    def edit(content):
        _, two, three = content["images"]
        del two["patient_id"], three["patient_id"]
        two["metadata"] = {"patientid": "226", "view": "AP Supine", "sex": "M", "age": "70"}
        three["tag_ids"] = [5, 6]
        content["tag_categories"] = [{"id": 5, "name": "PatientID:31"}, {"id": 6, "name": "View/PA"}]

    change(root, edit)
    one, two, three = index_dataset("coco", root, options={"namespace": "covidcxr"})
    # patient number 0 is a patient
    assert one.patient_id == "covidcxr:0"
    assert (two.patient_id, two.view, two.sex, two.age_years) == ("covidcxr:226", "AP", "M", 70)
    assert (three.patient_id, three.view) == ("covidcxr:31", "PA")


def test_images_without_patient_are_their_own_and_noted(root):
    change(root, lambda content: [image.pop("patient_id") for image in content["images"]])
    manifest = index_dataset("coco", root)
    assert manifest.column("patient_id") == ["coco:image:0.png", "coco:image:1.png", "coco:image:2.png"]
    assert any("3 images tell no patient" in note for note in manifest.notes)


def test_frame_is_the_entry_and_not_the_file(root):
    for path in (root / "images").iterdir():
        Image.new("L", (32, 32)).save(path)
    assert {(r.width, r.height) for r in index_dataset("coco", root)} == {(64, 64)}


def test_an_annotation_without_mask_leaves_its_class_unknown_in_that_image(root):
    def edit(content):
        content["annotations"][0]["segmentation"] = []
        content["annotations"][1]["bbox"] = []

    change(root, edit)
    one, two, three = index_dataset("coco", root)
    assert (one.boxes_annotated, one.masks_annotated) == ([0], [])
    assert (two.boxes_annotated, two.masks_annotated) == ([], [0])
    assert (three.boxes_annotated, three.masks_annotated) == ([0], [0])


def test_kinds_that_the_file_lacks_are_not_annotated(root):
    change(root, lambda content: [a.pop("segmentation") for a in content["annotations"]])
    manifest = index_dataset("coco", root)
    assert manifest.classes.masks == ()
    assert manifest[0].masks_annotated == []
    change(root, lambda content: content.update(annotations=[]))
    assert index_dataset("coco", root)[0].boxes_annotated == []


def test_ignored_classes_crowds_and_strays_are_left_out(root):
    def edit(content):
        content["categories"].append({"id": 9, "name": "Ignore"})
        content["annotations"][0]["category_id"] = 9
        content["annotations"][1]["iscrowd"] = 1
        content["annotations"][2]["image_id"] = 77

    change(root, edit)
    manifest = index_dataset("coco", root, options={"ignore_classes": "Ignore"})
    assert sum(map(len, manifest.column("boxes"))) == 0
    notes = " ".join(manifest.notes)
    assert "1 crowd regions were left out" in notes
    assert "annotation 2 belongs to no image of the file" in notes


def test_classes_are_ordered_by_id(root):
    change(root, lambda content: content["categories"].insert(0, {"id": 4, "name": "later"}))
    assert index_dataset("coco", root).classes.boxes == ("square", "later")


def test_several_json_files_need_a_choice(root):
    (root / "other.json").write_text("{}")
    with pytest.raises(DataError, match="2 files that could be the COCO annotation file"):
        index_dataset("coco", root)
    assert len(index_dataset("coco", root, options={"annotations": "annotations.json"})) == 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["images"][0].pop("width"), r"images\[0\]: there is no 'width'"),
        (lambda c: c["images"][0].update(height=0), "width and height are 64 and 0"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"annotation 0: bbox \[1, 2, 3\]"),
        (lambda c: c["annotations"][0].update(bbox=[60, 2, 9, 5]), r"annotation 0: box \(60, 2, 69, 7\) lies outside"),
        (lambda c: c["annotations"][0].update(segmentation="{"), "annotation 0: the segmentation is text"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, None]]), "something that is no number"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [64, 64]}), "a segmentation with the keys size"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [9, 9], "counts": [81]}), r"size \[9, 9\]"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [64, 64], "counts": [9]}), "counts add up to 9"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [64, 64], "counts": ["a"]}), "neither text nor"),
        (lambda c: c["images"][1].update(id=c["images"][0]["id"]), "images: the id 0 stands twice"),
        (lambda c: c["categories"].append(dict(c["categories"][0])), "categories: the id 1 stands twice"),
        (lambda c: c["categories"].append({**c["categories"][0], "id": 77}), "categories: the name 'square' stands"),
        (lambda c: c["categories"].append({"id": "x", "name": "x"}), "some ids are numbers, others text"),
        (lambda c: c["images"][0].update(file_name=5), r"images\[0\]: 'file_name' is a int"),
        (lambda c: c["images"][0].update(metadata=5), r"images\[0\]: 'metadata' is a int. Expected an object"),
        (lambda c: c["annotations"][0].update(image_id=[1]), r"annotations\[0\]: 'image_id' is a list"),
    ],
)
def test_refuses(root, edit, message):
    change(root, edit)
    with pytest.raises(DataError, match=message):
        index_dataset("coco", root)


def test_fractions_of_the_image_are_refused(root):
    def edit(content):
        for annotation in content["annotations"]:
            annotation.update(bbox=[0.1, 0.2, 0.5, 0.25], segmentation=[[0.1, 0.2, 0.6, 0.2, 0.6, 0.45]])

    change(root, edit)
    with pytest.raises(DataError, match="no coordinate is above 1; they look like fractions"):
        index_dataset("coco", root)
