import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_monai.data.manifest import Box, Classes, Manifest, Record
from fx_monai.data.splits import assign_splits
from fx_monai.errors import ConfigError

FRACTIONS = (0.7, 0.1, 0.2)


def manifest(name, rows, root, **extra):
    records = [
        Record(
            dataset=name,
            image_id=str(i),
            width=10,
            height=10,
            **{
                "labels": [1.0],
                "boxes_annotated": [0],
                "patient_id": f"{name}:{i}",
                "image_path": f"{name}/{i}.png",
                **row,
            },
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


def test_val_is_carved_for_the_dataset_that_lacks_it_only(tmp_path):
    parts = ["train"] * 20 + ["val"] * 5 + ["test"] * 5
    a = manifest("a", [{"split": part} for part in parts], tmp_path)
    b = manifest("b", [{"split": "test" if i >= 24 else "train"} for i in range(30)], tmp_path)
    splits = assign_splits([a, b], seed=0, fractions=FRACTIONS).by_dataset
    assert splits["a"].tolist() == parts
    assert set(splits["b"][:24]) == {"train", "val"}


def test_an_official_split_without_test_is_not_taken_and_noted(tmp_path):
    a = manifest("a", [{"split": "train"}] * 20, tmp_path)
    splits = assign_splits([a], seed=0, fractions=FRACTIONS)
    assert set(splits.by_dataset["a"]) == {"train", "val", "test"}
    assert "a: the official split leaves no test image" in splits.notes[0]


def test_where_the_test_is_withheld_the_official_val_is_the_test(tmp_path):
    withheld = {"split": "test", "labels": [float("nan")], "boxes_annotated": []}
    rows = [{"split": "train"}] * 40 + [{"split": "val"}] * 10 + [withheld] * 10
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=0, fractions=FRACTIONS)
    parts = splits.by_dataset["a"]
    assert set(parts[40:50]) == {"test"}
    # val is carved from train, none of which becomes test
    assert set(parts[:40]) == {"train", "val"}
    assert "a: the official test images are not annotated; the official val is the test" in splits.notes
    # one annotated test image is enough for the official test
    rows[-1] = {"split": "test"}
    again = assign_splits([manifest("a", rows, tmp_path)], seed=0, fractions=FRACTIONS)
    assert set(again.by_dataset["a"][40:50]) == {"val"}
    assert again.notes == ()


def test_a_link_to_a_file_is_that_file(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    for i in range(20):
        (tmp_path / "x" / f"{i}.png").touch()
        (tmp_path / "y" / f"{i}.png").symlink_to(tmp_path / "x" / f"{i}.png")
    a = manifest("a", [{"image_path": f"x/{i}.png"} for i in range(20)], tmp_path)
    b = manifest("b", [{"image_path": f"y/{i}.png"} for i in range(20)], tmp_path)
    splits = assign_splits([a, b], seed=0, fractions=FRACTIONS).by_dataset
    assert np.array_equal(splits["a"], splits["b"])


@pytest.mark.parametrize("seed", range(20))
def test_three_findings_are_enough_for_train_val_and_test(tmp_path, seed):
    rows = [{"boxes": [Box(1, 1, 5, 5, 0)]} if i % 13 == 0 else {} for i in range(39)]
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=seed, fractions=FRACTIONS).by_dataset["a"]
    assert set(splits[::13]) == {"train", "val", "test"}
    fold = assign_splits([manifest("a", rows, tmp_path)], seed=seed, fractions=FRACTIONS, fold=(1, 3)).by_dataset["a"]
    assert "train" in fold[::13]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 2])
def test_train_keeps_the_only_finding(tmp_path, seed, count):
    rows = [{"boxes": [Box(1, 1, 5, 5, 0)]} if i < count else {} for i in range(12)]
    splits = assign_splits([manifest("a", rows, tmp_path)], seed=seed, fractions=FRACTIONS).by_dataset["a"]
    assert "train" in splits[:count]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_patient_file_or_source_stands_on_two_sides(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("s")
    few = st.integers(0, 12)
    row = st.fixed_dictionaries(
        {
            "patient_id": few.map(lambda i: f"p:{i}" if i else ""),
            "source_image": few.map(lambda i: f"s/{i}" if i else ""),
            "image_path": few.map(lambda i: f"f/{i}.png"),
            "split": st.sampled_from(["", "train", "val", "test"]),
            "boxes": st.sampled_from([[], [Box(1, 1, 5, 5, 0)]]),
        }
    )
    manifests = [manifest(name, data.draw(st.lists(row, min_size=1, max_size=12)), root) for name in "abc"]
    fold = data.draw(st.sampled_from([None, (0, 2), (2, 3)]))
    splits = assign_splits(manifests, seed=data.draw(st.integers(0, 9)), fractions=FRACTIONS, fold=fold).by_dataset
    side: dict[tuple[str, str], str] = {}
    for one in manifests:
        for column in ("patient_id", "source_image", "image_path"):
            for value, part in zip(one.column(column), splits[one.dataset].tolist(), strict=True):
                if value:
                    assert side.setdefault((column, value), part) == part


@pytest.mark.parametrize("fractions", [(0.7, 0.1, 0.1), (0.0, 0.5, 0.5), (1.1, -0.1, 0.0)])
def test_fractions_are_checked(tmp_path, fractions):
    with pytest.raises(ConfigError, match="train, val, test of at least 0 that add up to 1"):
        assign_splits([manifest("a", [{}] * 5, tmp_path)], seed=0, fractions=fractions)


@pytest.mark.parametrize("fold", [(5, 5), (-1, 5), (0, 1), (0, 0)])
def test_folds_are_checked(tmp_path, fold):
    with pytest.raises(ConfigError, match="at least 2 folds"):
        assign_splits([manifest("a", [{}] * 5, tmp_path)], seed=0, fractions=FRACTIONS, fold=fold)
