"""What becomes of doubtful annotations."""

import math

import numpy as np
import pytest

from fx_monai.data.manifest import Box, Classes, Manifest, Record
from fx_monai.data.policies import Policies, chosen_views, decided_boxes, decided_labels, readers_per_row
from fx_monai.errors import ConfigError

NAN = math.nan


def manifest(root, *rows, **columns):
    """Return a manifest of three labels; rows are labels, or dicts of record fields."""
    names = ("a", "b", "c")
    fields = [row if isinstance(row, dict) else {"labels": list(row)} for row in rows]
    records = [Record("d", str(i), f"{i}.png", 99, 99, **row) for i, row in enumerate(fields)]
    return Manifest.from_records(records, dataset="d", classes=Classes(labels=names, boxes=names), root=root)


@pytest.mark.parametrize(("word", "value"), [("ignore", NAN), ("zeros", 0), ("ones", 1)])
def test_uncertain_labels_become_what_the_policy_says(tmp_path, word, value):
    labels = decided_labels(manifest(tmp_path, (1, -1, NAN)), Policies(uncertain=word), seed=0)
    np.testing.assert_array_equal(labels, [[1, value, NAN]])


def test_smoothed_labels_are_drawn_once_per_row_and_seed(tmp_path):
    many = manifest(tmp_path, *[(-1, 0, -1)] * 40)
    labels = decided_labels(many, Policies(uncertain="smooth"), seed=3)
    drawn = labels[:, [0, 2]]
    assert ((drawn >= 0.55) & (drawn <= 0.85)).all()
    assert drawn.std() > 0.05
    assert (labels[:, 1] == 0).all()
    np.testing.assert_array_equal(labels, decided_labels(many, Policies(uncertain="smooth"), seed=3))
    assert (labels[:, 0] != decided_labels(many, Policies(uncertain="smooth"), seed=4)[:, 0]).all()


def test_unmentioned_labels_become_absent_only_where_something_is_mentioned(tmp_path):
    rows = ((1, NAN, -1), (NAN, NAN, NAN))
    labels = decided_labels(manifest(tmp_path, *rows), Policies(unmentioned="zeros"), seed=0)
    np.testing.assert_array_equal(labels, [[1, 0, NAN], [NAN, NAN, NAN]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("agreement", [1, NAN, NAN]),
        ("any", [1, 1, 1]),
        ("majority", [1, 1, 0]),
        ("all", [1, 0, 0]),
    ],
)
def test_readers_labels_are_brought_together(tmp_path, rule, expected):
    votes = [("R1", [1.0, 1.0, 0.0]), ("R2", [1.0, 1.0, 0.0]), ("R3", [1.0, 0.0, 1.0])]
    rows = ({"labels": [1.0, NAN, NAN], "reader_labels": votes}, {"labels": [0.0, 0.0, NAN]})
    labels = decided_labels(manifest(tmp_path, *rows), Policies(label_consensus=rule), seed=0)
    np.testing.assert_array_equal(labels, [expected, [0, 0, NAN]])


def test_a_reader_who_says_nothing_has_no_vote(tmp_path):
    votes = [("R1", [NAN, 1.0, NAN]), ("R2", [1.0, 0.0, NAN])]
    rows = ({"labels": [NAN, NAN, NAN], "reader_labels": votes},)
    for rule, expected in (("majority", [1, 0, NAN]), ("all", [1, 0, NAN]), ("any", [1, 1, NAN])):
        labels = decided_labels(manifest(tmp_path, *rows), Policies(label_consensus=rule), seed=0)
        np.testing.assert_array_equal(labels, [expected], err_msg=rule)


def test_what_readers_disagree_on_is_not_unmentioned(tmp_path):
    votes = [("R1", [1.0, 1.0, NAN]), ("R2", [1.0, 0.0, NAN])]
    policies = Policies(label_consensus="agreement", unmentioned="zeros")
    rows = ({"labels": [1.0, NAN, NAN], "reader_labels": votes}, {"labels": [NAN] * 3, "reader_labels": [votes[1]]})
    labels = decided_labels(manifest(tmp_path, *rows), policies, seed=0)
    np.testing.assert_array_equal(labels, [[1, NAN, 0], [NAN, NAN, 0]])


@pytest.mark.parametrize("rule", ["any", "majority", "all"])
def test_an_uncertain_reader_neither_denies_nor_confirms(tmp_path, rule):
    votes = [("R1", [-1.0, -1.0, -1.0]), ("R2", [-1.0, 1.0, 0.0])]
    row = {"labels": [-1.0, NAN, NAN], "reader_labels": votes}
    for uncertain, value in (("ignore", NAN), ("ones", 1)):
        policies = Policies(label_consensus=rule, uncertain=uncertain)
        np.testing.assert_array_equal(decided_labels(manifest(tmp_path, row), policies, seed=0), [[value, 1, 0]])


# one lesion drawn by three readers, one by one reader twice, one of another class at the first place
CORNERS = np.array(
    [[10, 10, 50, 50], [12, 10, 52, 50], [8, 10, 48, 50], [70, 70, 90, 90], [70, 70, 90, 92], [10, 10, 50, 50]],
    dtype=np.float32,
)
CLASSES = np.array([0, 0, 0, 0, 0, 1])
READERS = np.array(["R1", "R2", "R3", "R1", "R1", "R2"])


def test_boxes_of_several_readers_are_fused_per_lesion_and_class():
    corners, classes = decided_boxes(CORNERS, CLASSES, READERS, 3, "fusion")
    assert corners.tolist() == [[10, 10, 50, 50], [70, 70, 90, 91], [10, 10, 50, 50]]
    assert classes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("rule", "kept"), [("majority", 1), ("all", 1), ("any", 6), ("fusion", 3)])
def test_lesions_are_kept_by_the_number_of_their_readers(rule, kept):
    assert len(decided_boxes(CORNERS, CLASSES, READERS, 3, rule)[0]) == kept
    assert len(decided_boxes(CORNERS[:3], CLASSES[:3], READERS[:3], 4, "all")[0]) == 0


def test_boxes_of_one_reader_stay_as_they_are():
    corners, classes = decided_boxes(CORNERS, CLASSES, np.array([""] * 6), 0, "fusion")
    assert corners is CORNERS
    assert classes is CLASSES


def test_readers_are_counted_by_labels_and_by_boxes(tmp_path):
    def box(reader):
        return Box(1, 1, 9, 9, 0, reader)

    rows = (
        {"boxes": [box("R1"), box("R1"), box("R2")]},
        {"boxes": [box("")]},
        {"boxes": [box("R1")], "reader_labels": [(name, [0.0, 0.0, 0.0]) for name in ("R1", "R2", "R3")]},
        {},
    )
    assert readers_per_row(manifest(tmp_path, *rows)).tolist() == [2, 0, 3, 0]


def test_frontal_views_and_unknown_ones_are_used_unless_the_recipe_says_otherwise(tmp_path):
    rows = [{"view": view} for view in ("PA", "AP", "LATERAL", "")]
    assert chosen_views(manifest(tmp_path, *rows), Policies()).tolist() == [True, True, False, True]
    assert chosen_views(manifest(tmp_path, *rows), Policies(views=("LATERAL",))).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"uncertain": "zeroes"}, r"uncertain: 'zeroes'\. Did you mean 'zeros'\? Expected one of ignore"),
        ({"box_consensus": "wbf"}, r"box_consensus: 'wbf'\. Expected one of any, majority, all, fusion"),
        ({"views": ("PA", "lateral")}, r"views: 'lateral'"),
        ({"views": ()}, r"views: ''"),
    ],
)
def test_words_that_are_no_policy_are_refused(policy, message):
    with pytest.raises(ConfigError, match=message):
        Policies(**policy)


def test_policies_of_foundation_x(tmp_path):
    """CheXpert "LSR-Ones", MIMIC "Ones", in both what isn't mentioned is absent (Foundation X and Ark)."""
    rows = manifest(tmp_path, (1, -1, NAN), (0, NAN, 1))
    chexpert = decided_labels(rows, Policies(uncertain="smooth", unmentioned="zeros"), seed=0)
    assert 0.55 <= chexpert[0, 1] <= 0.85
    assert (chexpert[0, [0, 2]].tolist(), chexpert[1].tolist()) == ([1, 0], [0, 0, 1])
    mimic = decided_labels(rows, Policies(uncertain="ones", unmentioned="zeros"), seed=0)
    assert mimic.tolist() == [[1, 1, 0], [0, 0, 1]]


def test_only_frontal_and_untold_views_by_default(tmp_path):
    rows = manifest(tmp_path, *({"view": view} for view in ("PA", "AP", "LATERAL", "OTHER", "")))
    assert chosen_views(rows, Policies()).tolist() == [True, True, False, False, True]
    assert chosen_views(rows, Policies(views=("OTHER",))).tolist() == [False, False, False, True, False]


def test_a_box_that_a_reader_drew_twice_is_one_lesion_and_one_vote(tmp_path):
    corners = np.array([[10, 10, 50, 50], [10, 11, 50, 50], [70, 70, 90, 90]], dtype=np.float32)
    classes, readers = np.array([0, 0, 0]), np.array([1, 1, 2])
    boxes, _ = decided_boxes(corners, classes, readers, 3, "fusion")
    assert len(boxes) == 2
    boxes, _ = decided_boxes(corners, classes, readers, 3, "majority")
    assert len(boxes) == 0
