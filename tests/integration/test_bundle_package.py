"""The packed bundle: the Model Zoo's rules, MONAI's checks and exports, inference from the unzipped files."""

import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import onnxruntime
import pytest
import torch
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    load,
    onnx_export,
    verify_metadata,
    verify_net_in_out,
)

from fx_monai import __version__
from fx_monai.apps.bundle.inferer import AllOutputs
from fx_monai.apps.bundle.metadata import network_data_format
from fx_monai.apps.bundle.model_card import data_terms
from fx_monai.apps.bundle.packing import pack_bundle
from fx_monai.apps.bundle.source_code import renamed_imports
from fx_monai.apps.bundle.zoo_rules import large_file_problems, zoo_problems
from fx_monai.cli import main
from fx_monai.data.catalog import CATALOG
from fx_monai.errors import CheckpointError
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, SegmentationConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import load_network, write_weights
from fx_monai.recipe import load_recipe
from fx_monai.shipped import shipped_folder
from fx_monai.types import Kind, Task, TaskSpec

ROOT = Path(__file__).resolve().parents[2]
C, L, S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def write_run(folder):
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(name="test_efficientnet", pretrained="none"),
        localization=LocalizationConfig(width=16, num_queries=8, heads=2, points=2, feedforward=16, decoder_layers=1),
        segmentation=SegmentationConfig(width=16),
        image_size=64,
    )
    specs = [TaskSpec(Task("a", C), ("x", "y"), exclusive=True), TaskSpec(Task("a", L), ("x",))]
    network = FoundationX(config, [*specs, TaskSpec(Task("b", S), ("p", "q"))]).eval()
    card = ModelCard(recipe="tiny", model="student", cycle=3, note="trained on phantoms", fx_monai_version=__version__)
    write_weights(network, card, folder / "model.pt")
    row = {"split": "test", "model": "selected", "images": 9, "patients": 5}
    rows = [
        {
            **row,
            "dataset": "a",
            "kind": "classification",
            "metric": "auc_macro",
            "value": 0.75,
            "low": 0.6,
            "high": 0.9,
        },
        {**row, "dataset": "b", "kind": "segmentation", "metric": "dice_positive", "value": 0.5, "low": math.nan},
    ]
    results = {"recipe": {"name": "tiny"}, "seed": 0, "selected": asdict(card), "rows": rows}
    (folder / "results.json").write_text(json.dumps(results))
    return folder / "model.pt"


def unzip(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder / "fx_monai_bundle"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def packed(weights, tmp_path_factory):
    return pack_bundle(weights, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def bundle(packed, tmp_path_factory):
    return unzip(packed.path, tmp_path_factory.mktemp("unzipped"))


@pytest.fixture
def copy(bundle, tmp_path):
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def test_same_weights_give_the_same_zip_with_its_hash_beside_it(packed, weights, tmp_path, capsys):
    assert main(["bundle", str(weights), "--out", str(tmp_path)]) == 0
    again = tmp_path / packed.path.name
    assert again.name == f"fx_monai_bundle_v{__version__}.zip"
    assert again.read_bytes() == packed.path.read_bytes()
    digest = hashlib.sha256(again.read_bytes()).hexdigest()
    assert (tmp_path / f"{again.name}.sha256").read_text() == f"{digest}  {again.name}\n"
    assert digest in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {again.name, f"{again.name}.sha256"}


def test_the_zoo_finds_nothing_wrong(bundle):
    assert zoo_problems(bundle) == []
    assert large_file_problems(bundle) == []
    assert zoo_problems(shipped_folder("bundle"), weights=False) == []


def replace(name, old, new):
    def change(bundle):
        text = (bundle / name).read_text(encoding="utf-8")
        assert old in text
        (bundle / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda b: (b / "LICENSE").unlink(), "LICENSE: there is no such file"),
        (lambda b: (b / "models/model.pt").unlink(), "models/model.pt: there is no such file"),
        (replace("configs/metadata.json", '"task":', '"tusk":'), "'task' is a required property"),
        (
            replace("configs/metadata.json", '"changelog": {', '"changelog": {"9": "x"}, "was": {'),
            "is not in the changelog",
        ),
        (replace("configs/metadata.json", '"timm": "', '"timm": ">='), "the version of timm is '>="),
        (replace("configs/metadata.json", '"pred": {', '"mask": {'), "the first output 'pred'"),
        (replace("configs/train.json", '"resume"', '"seed"'), "the key 'seed' stands twice"),
        (replace("configs/train.json", '"train": {', '"trian": {'), "there is no train#trainer#max_epochs"),
        (replace("configs/train.json", "    ", "  "), "not formatted with four spaces"),
        (replace("docs/README.md", "## Limitations", "## Limits"), "there is no section 'Limitations'"),
        (replace("docs/README.md", "TensorRT", "RT"), "says nothing about 'TensorRT'"),
        (replace("docs/README.md", "DATA ", "/home/me/data "), "an absolute path"),
        (lambda b: (b / "configs/__pycache__").mkdir() or (b / "configs/__pycache__/x.pyc").touch(), "does not belong"),
    ],
)
def test_what_the_zoo_refuses(copy, change, problem):
    change(copy)
    assert [text for text in zoo_problems(copy) if problem in text]


def test_large_files_need_an_address(copy, weights, tmp_path):
    with (copy / "models/model.pt").open("r+b") as file:
        file.truncate(26_000_000)
    assert "models/model.pt: above 25 MB" in large_file_problems(copy)[0]
    again = unzip(pack_bundle(weights, tmp_path, weights_url="https://example.org/model.pt").path, tmp_path)
    shutil.copy(again / "large_files.yml", copy)
    assert large_file_problems(copy) == []


def test_metadata_fits_the_schema(bundle, copy):
    verify_metadata(meta_file=str(bundle / "configs/metadata.json"), filepath=str(bundle / "docs/metadata_schema.json"))
    replace("configs/metadata.json", '"authors":', '"by":')(copy)
    with pytest.raises(ValueError, match="'authors' is a required property"):
        verify_metadata(meta_file=str(copy / "configs/metadata.json"), filepath=str(copy / "docs/metadata_schema.json"))


def test_every_output_is_as_the_metadata_says(bundle):
    files = {"meta_file": str(bundle / "configs/metadata.json"), "config_file": str(bundle / "configs/inference.json")}
    verify_net_in_out(net_id="network_def", device="cpu", bundle_root=str(bundle), **files)
    form = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]
    network = load_network(bundle / "models/model.pt")
    with torch.no_grad():
        found = AllOutputs()(torch.rand(3, *[form["inputs"]["image"]["num_channels"], 64, 64]), network)
    assert list(found) == list(form["outputs"])
    for name, tensor in found.items():
        said = form["outputs"][name]
        assert tensor.shape == (3, said["num_channels"], *said["spatial_shape"]), name
        assert str(tensor.dtype) == f"torch.{said['dtype']}"
        low, high = said["value_range"] or (-math.inf, math.inf)
        assert low <= tensor.min()
        assert tensor.max() <= high
        assert len(said.get("columns", said["channel_def"])) == tensor.shape[-1 if "columns" in said else 1]
    assert torch.equal(found["pred"], found["b_segmentation_logits"])
    assert form["outputs"]["pred"]["channel_def"] == {"0": "p", "1": "q"}
    assert form["outputs"]["a_classification_probs"]["exclusive"]


@pytest.mark.parametrize("options", [{}, {"use_trace": True, "input_shape": [1, 1, 64, 64]}])
def test_torchscript_gives_what_the_network_gives(bundle, tmp_path, options):
    ckpt_export(
        net_id="network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(bundle / "models/model.pt"),
        meta_file=str(bundle / "configs/metadata.json"), config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle), **options,
    )  # fmt: skip
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = load_network(bundle / "models/model.pt")(image)
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts")(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_gives_what_the_network_gives(bundle, tmp_path):
    onnx_export(
        net_id="network_def", filepath=str(tmp_path / "model.onnx"), ckpt_file=str(bundle / "models/model.pt"),
        meta_file=str(bundle / "configs/metadata.json"), config_file=str(bundle / "configs/inference.json"),
        bundle_root=str(bundle),
    )  # fmt: skip
    image = torch.rand(1, 1, 64, 64)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    with torch.no_grad():
        expected = load_network(bundle / "models/model.pt")(image)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_inference_on_the_examples_inside(copy):
    flow = ConfigWorkflow(
        config_file=str(copy / "configs/inference.json"), workflow_type="infer", bundle_root=str(copy), device="cpu"
    )
    flow.initialize()
    assert not flow.check_properties()
    flow.run()
    flow.finalize()
    results = sorted((copy / "eval/predictions").glob("*.json"))
    assert len(results) == 2
    found = json.loads(results[0].read_text())
    assert "trained on phantoms" in found["note"]
    assert [finding["label"] for finding in found["findings"]] == ["x", "y"]


def test_every_configuration_is_read(bundle):
    for names in (["train.json"], ["train.json", "evaluate.json"], ["train.json", "multi_gpu_train.json"]):
        parser = ConfigParser()
        parser.read_config([str(bundle / "configs" / name) for name in names])
        parser["bundle_root"] = str(bundle)
        assert parser.get_parsed_content("device") in (torch.device("cpu"), torch.device("cuda:0"))
        assert parser.get_parsed_content("ckpt_dir") == f"{bundle}/models"
        targets = re.findall(r'"_target_": "(fx_monai[^"]+)"', json.dumps(parser.get()))
        for target in targets:
            assert ConfigParser({"x": {"_target_": target, "_mode_": "callable"}}).get_parsed_content("x")


def test_monai_loads_the_network_from_anywhere(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = str(bundle / "models/model.pt")
    network = load(
        bundle.name, bundle_dir=bundle.parent, workflow_type="inference", net_override={"path": weights}, device="cpu"
    )
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), load_network(weights)(image))


def test_the_model_card_tells_of_these_weights(bundle):
    page = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert "| 0.750 (0.60-0.90) |" in page
    assert "recipe `tiny`" in page
    assert hashlib.sha256((bundle / "models/model.pt").read_bytes()).hexdigest() in page
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    assert metadata["eval_metrics"] == {"a/classification auc_macro": 0.75, "b/segmentation dice_positive": 0.5}
    assert metadata["version"] == metadata["required_packages_version"]["fx_monai"] == __version__


def test_terms_of_the_data_are_told(bundle):
    assert "trained on phantoms" in (bundle / "docs/data_license.txt").read_text()
    terms = data_terms(["siim_acr", "nih_chestxray14", "siim_acr", "our_own"], "", "swin.pth (SHA-256 1234)")
    assert "swin.pth" in terms
    assert "our_own: ask its owner" in terms
    assert terms.count(CATALOG["siim_acr"].licence) == 1
    assert CATALOG["nih_chestxray14"].url in terms


def test_results_of_other_weights_are_left_out(weights, tmp_path):
    shutil.copy(weights, tmp_path)
    results = json.loads((weights.parent / "results.json").read_text())
    results["selected"]["cycle"] = 4
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = pack_bundle(tmp_path / "model.pt", tmp_path / "out")
    assert "results.json is of other weights (cycle)" in found.notes[0]
    with zipfile.ZipFile(found.path) as archive:
        assert "packed without the results" in archive.read("fx_monai_bundle/docs/README.md").decode()


def test_weights_that_are_none_leave_nothing(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"no weights")
    with pytest.raises(CheckpointError):
        pack_bundle(tmp_path / "model.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bundle_with_its_own_code_runs_without_the_package(weights, tmp_path):
    packed = pack_bundle(weights, tmp_path, own_code=True)
    assert "isort" in packed.notes[0]
    bundle = unzip(packed.path, tmp_path)
    assert zoo_problems(bundle) == []
    assert "fx_monai" not in json.loads((bundle / "configs/metadata.json").read_text())["required_packages_version"]
    program = (
        "import sys; sys.modules['fx_monai'] = None; from monai.bundle import run; "
        f"run('inferring', config_file={str(bundle / 'configs/inference.json')!r}, bundle_root={str(bundle)!r})"
    )
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(list((bundle / "eval/predictions").glob("*.json"))) == 2


def test_only_imports_are_renamed():
    source = 'from fx_monai.types import Kind\nfrom fx_monai import (\n    errors,\n)\nNAME = "fx_monai.json"\n'
    assert renamed_imports(source) == (
        'from scripts.types import Kind\nfrom scripts import (\n    errors,\n)\nNAME = "fx_monai.json"\n'
    )


def test_shipped_metadata_is_of_the_recipe_demo_and_of_this_version():
    shipped = json.loads((shipped_folder("bundle") / "configs/metadata.json").read_text())
    assert shipped["version"] == shipped["required_packages_version"]["fx_monai"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    recipe = load_recipe("demo", {"model.backbone.pretrained": "none"})
    specs = [demo_spec(recipe, task) for task in recipe.tasks]
    primary = next(task for task in recipe.tasks if str(task) == recipe.primary)
    network = FoundationX(recipe.model, specs, primary=primary).eval()
    assert network_data_format(network) == shipped["network_data_format"]


def demo_spec(recipe, task):
    known = CATALOG[task.dataset].classes
    of_kind = {C: known.labels, L: known.boxes, S: known.masks}[task.kind]
    chosen = recipe.datasets[task.dataset].classes.get(task.kind) or of_kind
    return TaskSpec(task, tuple(chosen), exclusive=task == Task("rsna_pneumonia", C))


def test_pinned_packages_are_those_that_the_package_needs():
    shipped = json.loads((shipped_folder("bundle") / "configs/metadata.json").read_text())
    wanted = set(re.findall(r'^        "([\w.-]+?)[><=]', (ROOT / "setup.py").read_text(), flags=re.MULTILINE))
    apart = {"torch", "monai", "numpy"}
    assert set(shipped["required_packages_version"]) - {"fx_monai"} >= wanted - apart
    for name in ("LICENSE", "NOTICE"):
        assert (shipped_folder("bundle") / name).read_text() == (ROOT / name).read_text()
