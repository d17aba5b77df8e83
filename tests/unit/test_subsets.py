"""Subsets of training images: nested, patient-wise, n of every class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_monai.data.policies import Policies
from fx_monai.data.subsets import Subset, shown_classes
from fx_monai.errors import ConfigError
from fx_monai.types import Kind, Task, TaskSpec
from tests.builders import tiny_manifest

SHOTS = (1, 3, 6, 12, 15, 20, 24)
PERCENT = (1, 5, 10, 50, 100)


@st.composite
def cohorts(draw):
    number = draw(st.integers(1, 60))
    patients = [f"p{n}" for n in draw(st.lists(st.integers(0, 30), min_size=number, max_size=number))]
    values = draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=2 * number, max_size=2 * number))
    return patients, np.array(values, np.float32).reshape(number, 2), draw(st.integers(0, 3))


@given(cohorts())
def test_larger_subsets_hold_smaller_ones_and_patients_stay_whole(cohort):
    patients, shown, draw = cohort
    for family in ([Subset(shots=n) for n in SHOTS], [Subset(percent=p) for p in PERCENT]):
        before = np.zeros(len(patients), bool)
        for subset in family:
            chosen = subset.choose(patients, shown, seed=0, draw=draw)
            assert (chosen | ~before).all()
            inside = {p for p, c in zip(patients, chosen, strict=True) if c}
            assert not inside & {p for p, c in zip(patients, chosen, strict=True) if not c}
            before = chosen
    assert before.all()


@given(cohorts(), st.sampled_from(SHOTS))
def test_there_are_n_patients_with_and_without_every_class_if_the_data_has_them(cohort, shots):
    patients, shown, draw = cohort
    chosen = Subset(shots=shots).choose(patients, shown, seed=1, draw=draw)
    for value in (0, 1):
        for k in range(shown.shape[1]):
            have = {p for p, s in zip(patients, shown[:, k], strict=True) if s == value}
            got = {p for p, s, c in zip(patients, shown[:, k], chosen, strict=True) if s == value and c}
            assert len(got) >= min(shots, len(have))


def test_organs_that_every_image_shows_give_n_patients_as_in_the_paper():
    patients = [f"p{n}" for n in range(173)]
    shown = np.array([[1, 1]] * 173, np.float32)
    sizes = [int(Subset(shots=n).choose(patients, shown, seed=0, draw=0).sum()) for n in SHOTS]
    assert sizes == list(SHOTS)


def test_draws_and_seeds_differ_and_repeat():
    patients, shown = [f"p{n}" for n in range(100)], np.ones((100, 1), np.float32)

    def chosen(**options):
        return Subset(percent=10).choose(patients, shown, **options).tolist()

    assert sum(chosen(seed=0, draw=0)) == 10
    assert chosen(seed=0, draw=0) == chosen(seed=0, draw=0)
    assert len({str(chosen(seed=s, draw=d)) for s in (0, 1) for d in (0, 1)}) == 4


def test_a_patient_who_joins_doesnt_shuffle_the_others():
    patients = [f"p{n}" for n in range(60)]
    shown = np.ones((60, 1), np.float32)
    few = Subset(shots=5).choose(patients[:-1], shown[:-1], seed=0, draw=0)
    more = Subset(shots=5).choose(patients, shown, seed=0, draw=0)
    assert (few != more[:-1]).sum() <= 1


def test_percentages_are_of_patients_and_never_none():
    patients = [f"p{n // 2}" for n in range(200)]
    shown = np.ones((200, 1), np.float32)
    sizes = [int(Subset(percent=p).choose(patients, shown, seed=0, draw=0).sum()) for p in (0.1, 7, 50, 100)]
    assert sizes == [2, 14, 100, 200]


@pytest.mark.parametrize("values", [{}, {"shots": -1}, {"percent": 101}, {"percent": -5}, {"shots": 3, "percent": 5}])
def test_what_is_no_amount_is_refused(values):
    with pytest.raises(ConfigError, match="a whole number of shots"):
        Subset(**values)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Kind.CLASSIFICATION, [1, 0, 1]), (Kind.LOCALIZATION, [1, np.nan, 1]), (Kind.SEGMENTATION, [1, np.nan, 1])],
)
def test_shown_classes_of_every_kind(tmp_path, kind, expected):
    manifest = tiny_manifest(tmp_path)
    spec = TaskSpec(Task("tiny", kind), ("square",))
    shown = shown_classes(manifest, spec, Policies(), np.array([0, 1, 4]), seed=0)
    np.testing.assert_array_equal(shown[:, 0], np.array(expected, np.float32))
