"""The JSON of a prediction says which finding a label means, and null for an in-house label."""

from types import SimpleNamespace

import numpy as np

from fx_monai.apps.prediction import Finding, FoundBox, FoundMask, Prediction, to_json
from fx_monai.models.card import ModelCard


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
