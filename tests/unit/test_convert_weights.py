"""Files of other projects: what comes out gives the numbers of the original."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fx_monai.apps.conversion import convert_file
from fx_monai.data.catalog import CATALOG
from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.models.backbone import Backbone
from fx_monai.models.config import BackboneConfig
from fx_monai.models.convert import published
from fx_monai.models.convert.sources import read_foreign, unwrap
from fx_monai.models.weights import load_network
from fx_monai.types import Kind, Task
from tests.published import SWIN, old_layout, swin

IMAGE = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
SIZES = (14, 14, 14, 3, 6, 1)


@pytest.fixture(scope="module")
def original():
    return swin()


def pooled(model, image, mean, std):
    with torch.no_grad():
        return model.forward_features((image - mean) / std).mean(dim=(1, 2))


def ark_state(original, outputs=SIZES, layers=1):
    torch.manual_seed(1)
    linear = [torch.nn.Linear(768, 20), torch.nn.Linear(20, 20)][:layers]
    names = ["projector"] if layers == 1 else ["projector.0", "projector.2"]
    modules = dict(zip(names, linear, strict=True))
    modules |= {f"omni_heads.{i}": torch.nn.Linear(20, n) for i, n in enumerate(outputs)}
    state = old_layout(original.state_dict())
    for name, module in modules.items():
        state |= {f"{name}.{key}": value.detach() for key, value in module.state_dict().items()}
    return state, modules


def test_swin_gives_the_backbone_of_the_original(original, tmp_path):
    torch.save({"model": old_layout(original.state_dict())}, tmp_path / "swin.pth")
    report = convert_file(tmp_path / "swin.pth", tmp_path / "backbone.pt")
    assert set(report.unused.values()) == {
        "computed from the window size",
        "classifier of the pretraining, not part of a backbone",
    }
    assert set(report.missing) == {"trunk.backbone.mean", "trunk.backbone.std"}
    for path in ("swin.pth", "backbone.pt"):
        config = BackboneConfig(name=SWIN, pretrained=str(tmp_path / path), stage_norm=True)
        backbone = Backbone(config).eval()
        with torch.no_grad():
            ours = backbone.pool(backbone(IMAGE))
        torch.testing.assert_close(ours, pooled(original, IMAGE, backbone.mean, backbone.std), rtol=1e-4, atol=1e-4)
    assert len((tmp_path / "backbone.keys.tsv").read_text().splitlines()) == len(report.used) + len(report.unused) + 2


def test_ark_teacher_gives_the_logits_of_the_original(original, tmp_path):
    state, modules = ark_state(original)
    wrapped = {"epoch": 3, "lossMIN": np.float64(0.5), "args": argparse.Namespace(lr=0.1)}
    wrapped |= {"state_dict": {}, "teacher": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "ark.pth.tar")
    report = convert_file(tmp_path / "ark.pth.tar", tmp_path / "ark.pt")
    assert len(report.used) + len(report.unused) == len(state)
    assert any("alphabetical" in note for note in report.notes)
    network = load_network(tmp_path / "ark.pt")
    assert network.card.model == "teacher"
    assert [task.dataset for task in network.specs] == list(published.ARK)
    grey = IMAGE[:, :1]
    with torch.no_grad():
        output = network.predict_tasks(grey)
        projected = modules["projector"](pooled(original, grey.expand(-1, 3, -1, -1), 0.5056, 0.252))
        for number, dataset in enumerate(published.ARK):
            expected = modules[f"omni_heads.{number}"](projected)
            torch.testing.assert_close(
                output[Task(dataset, Kind.CLASSIFICATION)]["logits"], expected, rtol=1e-4, atol=1e-4
            )
    config = BackboneConfig(name=SWIN, pretrained=str(tmp_path / "ark.pth.tar"), stage_norm=True)
    assert torch.equal(Backbone(config).norm.weight, original.norm.weight)


def test_ark_with_a_deep_projector_and_named_datasets(original, tmp_path):
    state, _ = ark_state(original, outputs=(1, 3), layers=2)
    torch.save(state, tmp_path / "ark.pt")
    convert_file(tmp_path / "ark.pt", tmp_path / "out.pt", datasets=["siim_acr", "rsna_pneumonia"])
    assert load_network(tmp_path / "out.pt").config.projector.layers == 2
    with pytest.raises(CheckpointError, match=r"the heads have \[1, 3\] outputs"):
        convert_file(tmp_path / "ark.pt", tmp_path / "no.pt")
    with pytest.raises(ConfigError, match="Did you mean 'siim_acr'"):
        convert_file(tmp_path / "ark.pt", tmp_path / "no.pt", datasets=["siim", "rsna_pneumonia"])
    assert not (tmp_path / "no.pt").exists()


def test_classes_of_published_heads_are_spelled_as_in_the_catalogue():
    for dataset in published.FOUNDATION_X_CLASSIFICATION:
        if dataset in CATALOG:
            assert set(published.classification_spec(dataset).classes) <= set(CATALOG[dataset].classes.labels), dataset


class Harmful:
    def __reduce__(self):
        return print, ("code ran",)


def test_files_with_code_are_refused_and_the_code_does_not_run(tmp_path, capsys):
    torch.save({"model": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad.pth: .*it holds 'print', which could run code"):
        convert_file(tmp_path / "bad.pth", tmp_path / "out.pt")
    (tmp_path / "worse.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError, match=r"worse.pth"):
        convert_file(tmp_path / "worse.pth", tmp_path / "out.pt")
    assert capsys.readouterr().out == ""


def test_safetensors_are_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert read_foreign(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]
    (tmp_path / "cut.safetensors").write_bytes(b"\0\1")
    with pytest.raises(CheckpointError, match="can't be read"):
        read_foreign(tmp_path / "cut.safetensors")


def test_student_and_teacher_are_told_apart():
    content = {"model": {"a": torch.zeros(1)}, "teacher_model": {"a": torch.ones(1)}, "epoch": 1}
    assert unwrap(content, where="f")[0]["a"] == 1
    assert unwrap(content, which="student", where="f") == ({"a": content["model"]["a"]}, "student")
    assert unwrap({"a": torch.ones(1)}, where="f")[1] == "student"
    with pytest.raises(ConfigError, match="the file has no teacher"):
        unwrap({"model": {"a": torch.zeros(1)}}, which="teacher", where="f")
    with pytest.raises(CheckpointError, match="no tensors"):
        unwrap({"epoch": 1}, where="f")


def test_other_files_and_options_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="no architecture that can be converted"):
        convert_file(tmp_path / "resnet.pth", tmp_path / "out.pt")
    with pytest.raises(ConfigError, match="Did you mean 'teacher'"):
        convert_file(tmp_path / "resnet.pth", tmp_path / "out.pt", network="techer")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        convert_file(tmp_path / "list.pth", tmp_path / "out.pt")
