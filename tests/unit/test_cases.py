"""Which images stand for the best, the median and the worst."""

import json

import numpy as np
from PIL import Image

from fx_monai.apps.cases import Case, write_cases
from fx_monai.metrics.box_matching import ImageBoxes
from fx_monai.metrics.cases import choose_cases, quality_per_image
from fx_monai.metrics.classification import ClassificationScores
from fx_monai.metrics.localization import LocalizationScores
from fx_monai.metrics.segmentation import SegmentationScores
from fx_monai.types import Kind, Task, TaskSpec

NAN = float("nan")


def spec(kind):
    return TaskSpec(Task("d", kind), ("a", "b"))


def test_classification_is_ranked_by_its_known_labels_where_something_is_present():
    labels = np.array([[1, 0], [1, NAN], [0, 0], [NAN, NAN]])
    logits = np.array([[0, 0], [9, 9], [0, 0], [0, 0.0]])
    found = quality_per_image(ClassificationScores(spec(Kind.CLASSIFICATION), np.arange(4), logits, labels))
    np.testing.assert_allclose(found, [0.75, 1, NAN, NAN], atol=1e-6)
    nothing = ClassificationScores(spec(Kind.CLASSIFICATION), np.arange(4), logits, np.where(labels == 1, 0, labels))
    np.testing.assert_allclose(quality_per_image(nothing), [0.75, 0, 0.75, NAN], atol=1e-3)


def test_segmentation_is_ranked_by_the_classes_that_are_there():
    dice = np.array([[0.5, 1.0], [0.2, 0.4], [1.0, 1.0]])
    present = np.array([[True, False], [True, True], [False, False]])
    scores = SegmentationScores(spec(Kind.SEGMENTATION), np.arange(3), dice, present, np.ones((3, 2), bool))
    np.testing.assert_allclose(quality_per_image(scores), [0.5, 0.3, NAN])


def test_localization_is_ranked_by_the_best_scored_box():
    true = ImageBoxes(np.array([[0, 0, 10, 10.0]]), np.array([0]))
    none = ImageBoxes(np.zeros((0, 4)), np.zeros(0, int))
    found = ImageBoxes(np.array([[0, 0, 10, 5.0], [0, 0, 10, 10]]), np.array([0, 0]), np.array([0.9, 0.1]))
    scores = LocalizationScores(spec(Kind.LOCALIZATION), np.arange(2), [found, found], [true, none])
    np.testing.assert_allclose(quality_per_image(scores), [0.5, NAN])


def test_choice_is_the_same_in_any_order():
    quality = np.array([0.5, 0.9, NAN, 0.5, 0.1, 0.9])
    names = np.array(["e", "d", "c", "b", "a", "f"])
    assert choose_cases(quality, names) == {"best": 1, "median": 3, "worst": 4}
    turned = np.array([4, 3, 5, 0, 2, 1])
    again = choose_cases(quality[turned], names[turned])
    assert {place: names[turned][at] for place, at in again.items()} == {"best": "d", "median": "b", "worst": "a"}
    assert choose_cases(np.array([0.1, 0.2]), ["a", "b"]) == {"best": 1, "worst": 0}
    assert choose_cases(np.array([NAN]), ["a"]) == {}


def test_outlines_follow_the_mask(tmp_path):
    mask = np.zeros((16, 16))
    mask[2:12, 3:14] = 1
    mask[5:8, 6:9] = 0
    case = Case(Task("d", Kind.SEGMENTATION), "best", "ab", 0.5, "m", np.zeros((16, 16), np.uint8), masks=[("a", mask)])
    (read,) = json.loads(write_cases([case], tmp_path).read_text())
    outer, hole = read["masks"][0]["outlines"]
    assert [min(outer), max(outer)] == [[3, 2], [13, 11]]
    # OpenCV's outline of a hole runs over the pixels around it
    assert min(p[0] for p in hole) == 5
    assert max(p[0] for p in hole) == 9
    assert Image.open(tmp_path / read["file"]).size == (16, 16)
