import json

import onnx
import pytest
import torch

from fx_monai.apps import export as module
from fx_monai.apps.export import export_weights
from fx_monai.cli import main
from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.types import Kind, Task, TaskSpec

C, L, S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(name="resnet18", pretrained="none"),
        localization=LocalizationConfig(width=16, num_queries=8, heads=2, points=2, feedforward=16, decoder_layers=1),
        segmentation=SegmentationConfig(width=16),
        image_size=64,
    )
    specs = [TaskSpec(Task("a", C), ("x", "y"), exclusive=True), TaskSpec(Task("a", L), ("x",))]
    network = FoundationX(config, [*specs, TaskSpec(Task("b", S), ("p", "q"))])
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    write_weights(network, ModelCard(recipe="test", note="trained on nothing"), path)
    return path


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_outputs_are_the_networks(weights, tmp_path, form):
    out = tmp_path / "out" / "network"
    exported, difference = export_weights(weights, out, form=form)
    assert difference <= 1e-4
    assert [output.name for output in exported.outputs] == [
        "a_classification_probs", "a_localization_scores", "a_localization_boxes_xyxy", "b_segmentation_logits",
    ]  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["network"]


def test_onnx_of_chosen_tasks_takes_any_batch_and_says_what_it_holds(weights, tmp_path, capsys):
    out = tmp_path / "network.onnx"
    words = ["export", str(weights), "--out", str(out), "--tasks", "b/segmentation,a/classification"]
    assert main(words) == 0
    assert "b_segmentation_logits, a_classification_probs" in capsys.readouterr().out
    model = onnx.load(out)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    properties = {item.key: item.value for item in model.metadata_props}
    description = json.loads(properties["fx_monai.json"])
    assert description["card"]["note"] == "trained on nothing"
    assert description["outputs"][1]["classes"] == ["x", "y"]
    assert description["outputs"][1]["exclusive"]


def test_torchscript_of_one_task_returns_one_tensor_with_its_description(weights, tmp_path):
    export_weights(weights, tmp_path / "model.ts", form="torchscript", tasks=["b/segmentation"])
    files = {"fx_monai.json": ""}
    loaded = torch.jit.load(tmp_path / "model.ts", _extra_files=files)
    assert loaded(torch.rand(2, 1, 64, 64)).shape == (2, 2, 64, 64)
    assert json.loads(files["fx_monai.json"])["input"]["side"] == 64


def test_a_file_that_differs_is_not_kept(weights, tmp_path, monkeypatch):
    write, load = module._FORMS["torchscript"]

    def off(path):
        run = load(path)
        return lambda image: [value + 2e-4 for value in run(image)]

    monkeypatch.setitem(module._FORMS, "torchscript", (write, off))
    with pytest.raises(CheckpointError, match=r"differs by 0.0002"):
        export_weights(weights, tmp_path / "model.ts", form="torchscript", tasks=["a/classification"])
    assert not list(tmp_path.iterdir())


def test_refusals(weights, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean 'onnx'"):
        export_weights(weights, tmp_path / "x", form="onxx")
    with pytest.raises(ConfigError, match="there is no task 'a/clasification'. Did you mean 'a/classification'"):
        export_weights(weights, tmp_path / "x", form="exported", tasks=["a/clasification"])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fx_monai\[export\]'"):
        export_weights(weights, tmp_path / "x", form="onnx")
