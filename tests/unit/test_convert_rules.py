import pytest
import torch

from fx_monai.errors import CheckpointError
from fx_monai.models.convert.rules import Rule, apply_rules

OWN = {"net.a": torch.zeros(2), "net.b": torch.zeros(3), "net.scale": torch.ones(1)}
RULES = [
    Rule(r"old\.(a|b)", r"net.\1"),
    Rule(r"copy\.(a)", r"net.\1"),
    Rule(r"index", None, "computed"),
    Rule(r"stray", "net.nowhere"),
]


def test_every_key_is_used_unused_with_its_reason_or_missing():
    state = {"old.a": torch.ones(2), "old.b": torch.ones(3), "index": torch.zeros(1)}
    filled, report = apply_rules(state, RULES, OWN, where="f")
    assert {key: value.tolist() for key, value in filled.items()} == {"net.a": [1, 1], "net.b": [1, 1, 1]}
    assert report.used == {"old.a": "net.a", "old.b": "net.b"}
    assert report.unused == {"index": "computed"}
    assert report.missing == {"net.scale": "initial value"}
    assert report.table().splitlines() == [
        "used\told.a\tnet.a",
        "used\told.b\tnet.b",
        "not used\tindex\tcomputed",
        "missing\tnet.scale\tinitial value",
    ]
    assert report.lines() == [
        "used: 2 tensors",
        "not used: 1 (computed): index",
        "not in the file: 1 (initial value): net.scale",
    ]


def test_one_tensor_under_two_names_is_taken_once():
    state = {"old.a": torch.ones(2), "copy.a": torch.ones(2)}
    _, report = apply_rules(state, RULES, OWN, where="f")
    assert list(report.used) == ["old.a", "copy.a"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"unheard.of": torch.ones(1)}, "nobody knows the key 'unheard.of'"),
        ({"old.a": torch.ones(3)}, r"'old.a' has shape \(3,\). Expected \(2,\)"),
        ({"stray": torch.ones(1)}, "no place for 'stray'"),
        ({"old.a": torch.ones(2), "copy.a": torch.zeros(2)}, "'copy.a' differs"),
    ],
)
def test_refusals(state, words):
    with pytest.raises(CheckpointError, match=words):
        apply_rules(state, RULES, OWN, where="f")
