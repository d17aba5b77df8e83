"""Predictors whose result is known beforehand, results made by hand, and asymmetric images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pydicom.uid import generate_uid

from fx_monai.inference.activations import Activations
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.result import Finding, FoundBox, FoundMask, ImageFacts, ModelIdentity, Prediction
from fx_monai.models.card import ModelCard
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec
from tests.dicom_builder import dicom_file

CARD = ModelCard(fx_monai_version="0.1.0", recipe="demo", note="trained on phantoms")
LUNG = Task("montgomery", Kind.SEGMENTATION)
LABEL = Task("nih_chestxray14", Kind.CLASSIFICATION)
BOX = Task("rsna_pneumonia", Kind.LOCALIZATION)
SPECS = [
    TaskSpec(LABEL, ("Effusion", "Nodule")),
    TaskSpec(BOX, ("Lung Opacity",)),
    TaskSpec(LUNG, ("left lung", "right lung")),
]
SIDE = 64


def network(specs=SPECS, seed=0):
    torch.manual_seed(seed)
    boxes = LocalizationConfig(num_queries=8)
    config = ModelConfig(backbone=BackboneConfig(pretrained="none"), localization=boxes, image_size=SIDE)
    made = FoundationX(config, specs).eval()
    made.card = CARD
    return made


class Threshold(Predictor):
    """Takes what is brighter than half as the left lung, its mean as the probability and the left half as the box."""

    def activate(self, images):
        mean = images.mean((1, 2, 3))
        box = {
            "boxes_xyxy": torch.tensor([[0.0, 0.0, SIDE / 2, SIDE]]),
            "scores": torch.tensor([0.9]),
            "labels": torch.tensor([0]),
        }
        bright = (images > 0.5).float()
        return Activations(
            {LABEL: torch.stack([mean, mean / 2], 1)},
            {BOX: [box] * len(images)},
            {LUNG: torch.cat([bright, torch.zeros_like(bright)], 1)},
        )


def by_hand(height=40, width=30, *, findings=True, spacing_mm=None):
    """Return a result with two findings, a box and a mask in the upper left corner."""
    mask = np.zeros((height, width), bool)
    mask[2:10, 3:20] = True
    labels = (
        Finding.of("nih_chestxray14", "Effusion", probability=0.25, calibrated=True, threshold=0.2),
        Finding.of("our_hospital", "a label of our own that is much longer than a code value may be", probability=0.5),
    )
    return Prediction(
        ImageFacts(width, height, spacing_mm),
        ModelIdentity("demo", "0.1.0", "ab" * 32, CARD),
        findings=labels if findings else (),
        boxes=(FoundBox.of("rsna_pneumonia", "Lung Opacity", score=0.5, x1=1, y1=2, x2=9.5, y2=20),)
        if findings
        else (),
        masks=(
            FoundMask.of("montgomery", "left lung", mask=mask, area_px=int(mask.sum())),
            FoundMask.of("siim_acr", "Pneumothorax", mask=~mask, area_px=int((~mask).sum())),
            FoundMask.of("montgomery", "right lung", mask=np.zeros_like(mask), area_px=0),
        ),
        warnings=("a warning",),
    )


def corner(height=48, width=64):
    """Return an image that is bright in the upper left corner alone."""
    pixels = np.full((height, width), 20, np.uint8)
    pixels[4:20, 6:30] = 220
    return pixels


def radiograph(path: Path, pixels=None, **tags) -> Path:
    """Write a DICOM image that can be referred to, of a patient called Planted^Name with the number PLANTED42."""
    identity = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientName": "Planted^Name",
        "PatientID": "PLANTED42",
        "AccessionNumber": "ACCPLANTED",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "StudyDate": "20200102",
        "StudyTime": "101010",
        "StudyID": "1",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "ReferringPhysicianName": "",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "PatientOrientation": ["L", "F"],
        "Manufacturer": "x",
    }
    return dicom_file(path, corner() if pixels is None else pixels, **identity | tags)
