"""One typed result: immutable, every value with head, label and finding; what the card fitted is applied."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import fx_monai
from fx_monai.errors import CheckpointError, DataError
from fx_monai.inference.plain import to_plain
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.result import Finding, FoundBox, FoundMask, ImageFacts, ModelIdentity, Prediction
from fx_monai.inference.source import source_of_array
from fx_monai.models.card import Calibration, ModelCard
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.models.weights import write_weights
from fx_monai.types import Kind, Task, TaskSpec

CARD = ModelCard(fx_monai_version="0.1.0", recipe="demo", note="trained on phantoms")


def network(*tasks, exclusive=False):
    torch.manual_seed(0)
    boxes = LocalizationConfig(num_queries=8)
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), localization=boxes, image_size=64)
    return FoundationX(config, [TaskSpec(task, ("a", "b"), exclusive=exclusive) for task in tasks]).eval()


def noise(height=64, width=64):
    return np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)


def test_every_class_says_dataset_label_and_finding():
    prediction = Prediction(
        ImageFacts(8, 8),
        ModelIdentity("demo", "0.1.0", "ab", CARD),
        findings=(
            Finding.of("nih_chestxray14", "Effusion", probability=0.25),
            Finding.of("our_hospital", "Effusion", probability=0.5),
        ),
        boxes=(FoundBox.of("rsna_pneumonia", "Lung Opacity", score=0.5, x1=0, y1=0, x2=4, y2=4),),
        masks=(FoundMask.of("montgomery", "left lung", mask=np.zeros((8, 8), bool), area_px=0),),
        warnings=("careful",),
    )
    content = json.loads(json.dumps(to_plain(prediction)))
    keys = ("dataset", "label", "finding", "relation", "side")
    found = [tuple(item[key] for key in keys) for kind in ("findings", "boxes", "masks") for item in content[kind]]
    assert found == [
        ("nih_chestxray14", "Effusion", "pleural_effusion", "=", None),
        ("our_hospital", "Effusion", None, None, None),
        ("rsna_pneumonia", "Lung Opacity", "suspicious_lung_opacity", "=", None),
        ("montgomery", "left lung", "lung", "=", "left"),
    ]
    assert content["findings"][0]["probability"] == 0.25
    assert content["boxes"][0]["score"] == 0.5
    assert content["note"] == "research use only; trained on phantoms"
    assert content["warnings"] == ["careful"]
    assert content["model"]["weights_sha256"] == "ab"


def test_results_can_not_be_changed():
    task = Task("our_hospital", Kind.SEGMENTATION)
    prediction = Predictor(network(task)).predict(noise(), any_image=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        prediction.warnings = ()
    with pytest.raises(ValueError, match="read-only"):
        prediction.masks[0].mask[0, 0] = True


@pytest.mark.parametrize("exclusive", [False, True])
def test_temperatures_and_thresholds_of_the_card_are_applied(exclusive):
    task = Task("our_hospital", Kind.CLASSIFICATION)
    own = network(task, exclusive=exclusive)
    temperatures = (2.0, 2.0) if exclusive else (2.0, None)
    own.card = ModelCard(calibration={str(task): Calibration(temperatures, (0.0, None), 30)})
    prediction = Predictor(own).predict(noise(), any_image=True)
    with torch.inference_mode():
        logits = own(torch.from_numpy(noise())[None, None].float() / 255)[0]
    expected = (logits / 2).softmax(0) if exclusive else (logits / torch.tensor([2.0, 1.0])).sigmoid()
    assert [f.probability for f in prediction.findings] == pytest.approx(expected.tolist(), abs=1e-5)
    found = [(f.calibrated, f.threshold, f.present) for f in prediction.findings]
    assert found == [(True, 0.0, True), (exclusive, None, None)]
    assert "calibration" not in to_plain(prediction)["model"]


def test_load_takes_a_bundle_a_run_and_a_file(tmp_path):
    bundle, run = tmp_path / "bundle", tmp_path / "run"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text('{"name": "Chest", "version": "0.2.1"}')
    for path in (bundle / "models" / "model.pt", run / "model.pt"):
        write_weights(network(Task("tiny", Kind.CLASSIFICATION)), CARD, path)
    loaded = [fx_monai.load(path, device="cpu").identity for path in (bundle, run, str(run / "model.pt"))]
    assert [(item.name, item.version) for item in loaded] == [("Chest", "0.2.1"), ("demo", "0.1.0"), ("demo", "0.1.0")]
    assert loaded[0].weights_sha256 == loaded[1].weights_sha256
    assert len(loaded[0].weights_sha256) == 64
    with pytest.raises(CheckpointError, match="the folder holds no weights"):
        fx_monai.load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros(0), np.zeros((2, 0)), np.array([["a"]]), np.full((8, 8), np.nan)]
)
def test_other_arrays_are_refused(image):
    predictor = Predictor(network(Task("tiny", Kind.CLASSIFICATION)))
    with pytest.raises(DataError, match=r"image in memory.*grey values of the shape \(height, width\)"):
        predictor.predict(image, any_image=True)


def test_what_is_no_chest_is_refused_or_told():
    predictor = Predictor(network(Task("tiny", Kind.CLASSIFICATION)))
    black = np.zeros((90, 80), np.uint8)
    with pytest.raises(DataError, match="no frontal chest radiograph"):
        predictor.predict(black)
    prediction = predictor.predict(black, any_image=True)
    assert prediction.image.verdict == "refused"
    assert "predicted on demand" in prediction.warnings[0]


def test_an_image_smaller_than_the_network_reads_is_told():
    prediction = Predictor(network(Task("tiny", Kind.CLASSIFICATION))).predict(noise(40, 50), any_image=True)
    assert "50 x 40 pixels are fewer than the network reads (64)" in prediction.warnings[-1]


def test_batch_gives_what_single_images_give():
    predictor = Predictor(network(*(Task("tiny", kind) for kind in Kind)), threshold=0.0)
    images = [noise(70, 60), noise(50, 80), noise()]
    alone = [to_plain(predictor.predict(image, any_image=True)) for image in images]
    together = predictor.predict_batch([source_of_array(image, any_image=True) for image in images])
    for one, other in zip(alone, map(to_plain, together), strict=True):
        assert [f["probability"] for f in one["findings"]] == pytest.approx(
            [f["probability"] for f in other["findings"]], abs=2e-4
        )
        assert [m["area_px"] for m in one["masks"]] == pytest.approx([m["area_px"] for m in other["masks"]], abs=4)
