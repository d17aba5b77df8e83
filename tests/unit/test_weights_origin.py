"""What weights say about where their backbone began: in words that hold on every machine."""

import hashlib

import timm
import torch

from fx_monai.models.card import ModelCard, unpack
from fx_monai.models.config import BackboneConfig, ModelConfig, SegmentationConfig
from fx_monai.models.continual import start_from
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network, write_weights
from fx_monai.types import Kind, Task, TaskSpec

NAME = "test_efficientnet"


def network_of(pretrained):
    backbone = BackboneConfig(name=NAME, pretrained=str(pretrained))
    config = ModelConfig(backbone=backbone, segmentation=SegmentationConfig(width=16), image_size=64)
    return FoundationX(config, [TaskSpec(Task("a", Kind.CLASSIFICATION), ("x",))])


def origin_in(path):
    return unpack(torch.load(path, weights_only=True)["_extra_state"], where="x")[0].backbone.pretrained


def test_name_and_hash_of_the_file_travel_and_no_folder(tmp_path):
    source = tmp_path / "secret-folder" / "imagenet.pth"
    source.parent.mkdir()
    torch.save(timm.create_model(NAME).state_dict(), source)
    write_weights(network_of(source), ModelCard(), tmp_path / "model.pt")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert origin_in(tmp_path / "model.pt") == f"imagenet.pth (SHA-256 {digest})"

    write_weights(load_network(tmp_path / "model.pt"), ModelCard(), tmp_path / "again.pt")
    assert origin_in(tmp_path / "again.pt") == origin_in(tmp_path / "model.pt")
    assert b"secret-folder" not in (tmp_path / "again.pt").read_bytes()


def test_a_start_from_trained_weights_is_said(tmp_path):
    write_weights(network_of("none"), ModelCard(), tmp_path / "parent.pt")
    assert origin_in(tmp_path / "parent.pt") == "random"
    child = network_of("none")
    start_from(child, tmp_path / "parent.pt")
    write_weights(child, ModelCard(), tmp_path / "child.pt")
    assert origin_in(tmp_path / "child.pt").startswith("parent.pt (SHA-256 ")
