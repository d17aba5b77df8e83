"""Names, parameters, points and what is kept private: pure functions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH, _validate_metric_name

from fx_monai.tracking import names
from fx_monai.tracking.names import entry_name, flat_parameters
from fx_monai.tracking.points import Point, loss_points, score_points
from fx_monai.tracking.privacy import without_folders, without_password
from fx_monai.types import Kind, Task

TASK = Task("nih", Kind.CLASSIFICATION)


@given(st.text(min_size=1, max_size=400))
def test_mlflow_takes_every_name(text):
    name = entry_name(f"val/{text}")
    _validate_metric_name(name)
    assert len(name) <= MAX_ENTITY_KEY_LENGTH


@given(st.lists(st.text(st.sampled_from("ab/ .,+()é\n"), max_size=8), min_size=2, max_size=2, unique=True))
def test_two_classes_never_share_a_curve(texts):
    first, second = (entry_name(f"auc/{text}") for text in texts)
    assert first != second


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("test/nih_chestxray14/classification/auc_macro/teacher",) * 2,
        ("val/d/k/ap@0.4/student", "val/d/k/ap_0.4/student"),
        ("auc/Pleural Thickening",) * 2,
        ("auc/肺炎",) * 2,
    ],
)
def test_usual_names_stay_readable(text, name):
    assert entry_name(text) == name


def test_limits_are_those_of_mlflow():
    assert (names.MAX_NAME, names.MAX_VALUE) == (MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH)


def test_parameters_are_flat_and_of_bounded_length():
    long = [f"class {number}" for number in range(2000)]
    flat = flat_parameters({"a": {"b": {"c": 1.5}, "none": None}, "list": ["x", 1], "empty": {}, "long": long})
    assert flat.pop("long") == f"{json.dumps(long)[:5999]}…"
    assert flat == {"a.b.c": "1.5", "a.none": "None", "list": '["x", 1]', "empty": "{}"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nih", "nih"),
        ("../vindr/labels.csv", "../vindr/labels.csv"),
        ("/home/jane doe/nih", "<folder>"),
        ("/home/jane/runs/demo/model.pt", "<folder>/model.pt"),
        ("/home/jane.doe", "<folder>"),
        ("~/data", "<folder>"),
        ("C:\\Users\\jane\\model.pt", "<folder>/model.pt"),
        ("\\\\server\\share\\jane", "<folder>"),
        ("file:///home/jane/x.db", "<folder>/x.db"),
    ],
)
def test_folders_are_hidden(value, shown):
    assert without_folders({"a": [value]}) == {"a": [shown]}


def test_passwords_are_hidden():
    assert without_password("postgresql://jane:secret@db:5432/m?x=1") == "postgresql://db:5432/m?x=1"
    assert without_password("sqlite:////data/m.db") == "sqlite:////data/m.db"


def row(metric, value, **changes):
    base = {"dataset": "nih", "kind": "classification", "split": "val", "model": "teacher", "cycle": 3}
    return {**base, "metric": metric, "value": value, **changes}


def test_scores_of_the_training_have_means_over_tasks_and_no_classes():
    rows = [
        row("auc_macro", 0.75),
        row("auc/Nodule", 0.9),
        row("auc_macro@PA", 0.1),
        row("ap_macro", float("nan")),
        row("auc_macro", 0.25, dataset="rsna"),
        row("ap40", 0.5, kind="localization"),
    ]
    assert score_points(rows, None) == [
        Point("val/nih/classification/auc_macro/teacher", 0.75, 3),
        Point("val/rsna/classification/auc_macro/teacher", 0.25, 3),
        Point("val/nih/localization/ap40/teacher", 0.5, 3),
        Point("val/mean/classification/auc_macro/teacher", 0.5, 3),
        Point("val/mean/localization/ap40/teacher", 0.5, 3),
        Point("val/mean/all/primary/teacher", 0.5, 3),
    ]


def test_scores_of_a_task_have_classes_and_intervals():
    rows = [row("auc_macro", 0.75, low=0.5, high=1.0), row("auc/Nodule", 0.9), row("auc_macro", 0.1, dataset="rsna")]
    assert score_points(rows, TASK) == [
        Point("val/auc_macro/teacher", 0.75, 3),
        Point("val/auc_macro/teacher_low", 0.5, 3),
        Point("val/auc_macro/teacher_high", 1.0, 3),
        Point("val/auc/Nodule/teacher", 0.9, 3),
    ]


def test_losses_stand_at_optimiser_steps():
    phase = {"dataset": "nih", "kind": "classification", "mode": "lock", "step": 7, "steps": 4, "cycle": 1}
    phase |= {"seconds": 2.5, "teacher_initial_weight": 0.5, "loss": 1.25}
    assert loss_points([phase], None) == [
        Point("teacher/initial_weight", 0.5, 7),
        Point("train/nih/classification/lock/loss", 1.25, 7),
    ]
    assert loss_points([phase], TASK) == [Point("train/lock/loss", 1.25, 7)]
    assert loss_points([phase], Task("rsna", Kind.CLASSIFICATION)) == []
