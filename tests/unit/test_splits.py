import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_monai.data.manifest import Box, Classes, Manifest, Record
from fx_monai.data.splits import assign_splits

FRACTIONS = (0.7, 0.1, 0.2)


def manifest(name, rows, root, **extra):
    records = [
        Record(
            dataset=name,
            image_id=str(i),
            image_path=f"{name}/{i}.png",
            width=10,
            height=10,
            labels=[1.0],
            boxes_annotated=[0],
            **{"patient_id": f"{name}:{i}", **row},
        )
        for i, row in enumerate(rows)
    ]
    classes = Classes(labels=("a",), boxes=("b",))
    return Manifest.from_records(records, dataset=name, classes=classes, root=root, **extra)


def test_a_patient_and_an_image_stand_on_one_side_in_all_datasets(tmp_path):
    a = manifest("a", [{"patient_id": f"p:{i // 3}", "source_image": f"a/{i}"} for i in range(60)], tmp_path)
    b = manifest("b", [{"patient_id": f"q:{i}", "source_image": f"a/{2 * i}"} for i in range(30)], tmp_path)
    splits = assign_splits([a, b], seed=0, fractions=FRACTIONS)
    of_a, of_b = splits.by_dataset["a"], splits.by_dataset["b"]
    for patient in range(20):
        assert len(set(of_a[3 * patient : 3 * patient + 3])) == 1
    assert all(of_b[i] == of_a[2 * i] for i in range(30))


def test_same_file_in_two_datasets_is_one_image(tmp_path):
    records = [Record("a", str(i), f"x/{i}.png", 10, 10, patient_id=f"a:{i}", labels=[1.0]) for i in range(20)]
    a = Manifest.from_records(records, dataset="a", classes=Classes(labels=("l",)), root=tmp_path)
    records = [Record("b", str(i), f"x/{i}.png", 10, 10, patient_id=f"b:{i}", labels=[1.0]) for i in range(20)]
    b = Manifest.from_records(records, dataset="b", classes=Classes(labels=("l",)), root=tmp_path)
    splits = assign_splits([a, b], seed=3, fractions=FRACTIONS).by_dataset
    assert np.array_equal(splits["a"], splits["b"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(10, 60))
def test_fractions_hold_and_order_does_not_matter(tmp_path_factory, seed, count):
    root = tmp_path_factory.mktemp("s")
    a = manifest("a", [{}] * count, root)
    b = manifest("b", [{}] * 10, root)
    one = assign_splits([a, b], seed=seed, fractions=FRACTIONS).by_dataset
    two = assign_splits([b, a], seed=seed, fractions=FRACTIONS).by_dataset
    assert np.array_equal(one["a"], two["a"])
    parts, counts = np.unique(np.concatenate(list(one.values())), return_counts=True)
    share = dict(zip(parts.tolist(), (counts / counts.sum()).tolist(), strict=True))
    for part, fraction in zip(("train", "val", "test"), FRACTIONS, strict=True):
        assert abs(share.get(part, 0) - fraction) < 0.12


def test_findings_are_spread_over_the_parts(tmp_path):
    rows = [{"boxes": [Box(1, 1, 5, 5, 0)]} if i < 10 else {} for i in range(100)]
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=1, fractions=FRACTIONS).by_dataset["a"]
    assert [int((splits[:10] == p).sum()) for p in ("train", "val", "test")] == [7, 1, 2]


def test_folds_cover_everything_once(tmp_path):
    a = manifest("a", [{}] * 23, tmp_path)
    tests = [assign_splits([a], seed=0, fractions=FRACTIONS, fold=(k, 5)).by_dataset["a"] == "test" for k in range(5)]
    assert np.array_equal(np.sum(tests, axis=0), np.ones(23))


def test_official_split_is_taken_and_val_is_carved_from_train(tmp_path):
    rows = [{"split": "test" if i >= 30 else "train"} for i in range(40)]
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=0, fractions=FRACTIONS)
    assert set(splits.by_dataset["a"][30:]) == {"test"}
    assert set(splits.by_dataset["a"][:30]) == {"train", "val"}
    assert splits.notes == ()


def test_official_test_image_is_test_in_every_dataset(tmp_path):
    a = manifest("a", [{"split": "test" if i < 5 else "train", "source_image": f"a/{i}"} for i in range(30)], tmp_path)
    b = manifest("b", [{"source_image": f"a/{i}"} for i in range(30)], tmp_path)
    splits = assign_splits([a, b], seed=0, fractions=FRACTIONS).by_dataset
    assert set(splits["b"][:5]) == {"test"}
    assert "test" not in splits["b"][5:]


def test_official_split_that_starves_a_task_is_not_taken(tmp_path):
    # as in NIH, where every boxed image is in the official test list
    rows = [{"split": "test", "boxes": [Box(1, 1, 5, 5, 0)]}] * 20 + [{"split": "train"}] * 40
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=0, fractions=FRACTIONS)
    assert {"train", "test"} <= set(splits.by_dataset["a"][:20])
    assert "leaves boxes no training image" in splits.notes[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_changes_the_division(tmp_path, seed):
    a = manifest("a", [{}] * 50, tmp_path)
    one = assign_splits([a], seed=seed, fractions=FRACTIONS).by_dataset["a"]
    assert not np.array_equal(one, assign_splits([a], seed=seed + 1, fractions=FRACTIONS).by_dataset["a"])
