"""A network that starts from the weights of one with other tasks."""

import copy

import pytest
import torch

from fx_monai.errors import CheckpointError
from fx_monai.files import save_atomically
from fx_monai.models.card import ModelCard, chosen_for, inherited_note
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.continual import start_from
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.types import Kind, Task, TaskSpec

C, L, S = Kind
CONFIG = ModelConfig(
    backbone=BackboneConfig(pretrained="none"),
    localization=LocalizationConfig(num_queries=10, width=32, heads=4, feedforward=32),
    segmentation=SegmentationConfig(width=16),
    image_size=64,
)


def spec(dataset, kind, *classes):
    return TaskSpec(Task(dataset, kind), classes or ("a", "b"))


@pytest.fixture
def old(tmp_path):
    network = FoundationX(CONFIG, [spec("one", C), spec("one", S)])
    write_weights(network, ModelCard(), tmp_path / "model.pt")
    return network


def test_new_tasks_add_keys_and_leave_the_old_ones_bit_identical(old, tmp_path):
    network = FoundationX(CONFIG, [spec("one", C), spec("one", S), spec("two", L), spec("two", C, "x")])
    before = copy.deepcopy(network.state_dict())
    notes = start_from(network, tmp_path / "model.pt")
    after, known = network.state_dict(), old.state_dict()
    assert set(known) < set(after)
    for name, value in after.items():
        if name == "_extra_state":
            continue
        assert torch.equal(value, known[name] if name in known else before[name]), name
    assert notes == ["fresh: loc_encoder, cls_head.two, loc_decoder.two, loc_head.two"]


def test_a_checkpoint_gives_its_student(old, tmp_path):
    save_atomically({"format": "x", "modules": {"student": old.state_dict()}}, tmp_path / "checkpoint.pt")
    network = FoundationX(CONFIG, [spec("one", C), spec("one", S)])
    assert start_from(network, tmp_path / "checkpoint.pt") == []
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), old.parameters(), strict=True))


def test_tasks_that_the_recipe_lacks_are_left_out_and_said(old, tmp_path):
    assert start_from(FoundationX(CONFIG, [spec("one", C)]), tmp_path / "model.pt") == [
        "left out, not in the recipe: one/segmentation"
    ]


def test_other_classes_and_other_sizes_are_refused(old, tmp_path):
    with pytest.raises(CheckpointError, match=r"task one/classification: the weights are for a, b\. Expected b, a"):
        start_from(FoundationX(CONFIG, [spec("one", C, "b", "a")]), tmp_path / "model.pt")
    wide = ModelConfig(backbone=CONFIG.backbone, segmentation=SegmentationConfig(width=32), image_size=64)
    with pytest.raises(CheckpointError, match=r"seg_decoder.*the weights have \(16, .*Expected \(32, "):
        start_from(FoundationX(wide, [spec("one", S)]), tmp_path / "model.pt")
    (tmp_path / "words.pt").write_text("words")
    with pytest.raises(CheckpointError, match="can't be read as weights"):
        start_from(FoundationX(CONFIG, [spec("one", C)]), tmp_path / "words.pt")
    save_atomically({"weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="no readable model card"):
        start_from(FoundationX(CONFIG, [spec("one", C)]), tmp_path / "foreign.pt")


def test_what_weights_say_of_themselves_stays_true_of_what_began_with_them(old, tmp_path):
    old.card = ModelCard(note="trained on phantoms; chosen for one/classification")
    write_weights(old, old.card, tmp_path / "model.pt")
    network = FoundationX(CONFIG, [spec("two", C)])
    start_from(network, tmp_path / "model.pt")
    assert inherited_note(network.card.note, "", chosen_for("two/classification")) == (
        "trained on phantoms; chosen for two/classification"
    )
    assert inherited_note(network.card.note, "trained on phantoms") == "trained on phantoms"
    assert inherited_note("", "", "") == ""
