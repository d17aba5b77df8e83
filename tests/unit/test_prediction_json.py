"""The JSON of a prediction says which finding a label means, and null for an in-house label."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fx_monai.apps.prediction import Finding, FoundBox, FoundMask, Prediction, Predictor, to_json
from fx_monai.models.card import Calibration, ModelCard
from fx_monai.models.config import BackboneConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec


def test_every_class_says_dataset_label_and_finding():
    prediction = Prediction(
        8,
        8,
        findings=[Finding("nih_chestxray14", "Effusion", 0.25), Finding("our_hospital", "Effusion", 0.5)],
        boxes=[FoundBox("rsna_pneumonia", "Lung Opacity", 0.5, 0, 0, 4, 4)],
        masks=[FoundMask("montgomery", "left lung", np.zeros((8, 8), bool), 0)],
    )
    content = to_json(prediction, SimpleNamespace(card=ModelCard()), source="image.png", mask_files={})
    found = [
        (item["dataset"], item["label"], item["finding"]) for k in ("findings", "boxes", "masks") for item in content[k]
    ]
    assert found == [
        ("nih_chestxray14", "Effusion", "pleural_effusion"),
        ("our_hospital", "Effusion", None),
        ("rsna_pneumonia", "Lung Opacity", "suspicious_lung_opacity"),
        ("montgomery", "left lung", "lung"),
    ]
    assert content["findings"][0]["probability"] == 0.25
    assert content["boxes"][0]["score"] == 0.5


@pytest.mark.parametrize("exclusive", [False, True])
def test_temperatures_and_thresholds_of_the_card_are_applied(exclusive):
    task = Task("our_hospital", Kind.CLASSIFICATION)
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), image_size=64)
    network = FoundationX(config, [TaskSpec(task, ("a", "b"), exclusive=exclusive)]).eval()
    temperatures = (2.0, 2.0) if exclusive else (2.0, None)
    network.card = ModelCard(calibration={str(task): Calibration(temperatures, (0.0, None), 30)})
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    prediction = Predictor(network).predict(pixels)
    with torch.inference_mode():
        logits = network(torch.from_numpy(pixels)[None, None].float() / 255)[0]
    expected = (logits / 2).softmax(0) if exclusive else (logits / torch.tensor([2.0, 1.0])).sigmoid()
    assert [f.probability for f in prediction.findings] == pytest.approx(expected.tolist(), abs=1e-5)
    content = to_json(prediction, network, source="image.png", mask_files={})
    found = [(item["calibrated"], item["threshold"], item["present"]) for item in content["findings"]]
    assert found == [(True, 0.0, True), (exclusive, None, None)]
    assert "calibration" not in content["model"]
