"""Heads of the published networks: which dataset each belongs to, and what its outputs mean.

Source: Foundation X (WACV 2025) and Ark (MICCAI 2023), order of the heads in the published files.
"""

from __future__ import annotations

from fx_monai.types import Kind, Task, TaskSpec

CHEXPERT_LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
# the authors list CheXpert's order here, but read the columns of MIMIC's table by position, and those are alphabetical
MIMIC_LABELS = tuple(sorted(CHEXPERT_LABELS))
NIH_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
CHESTX_DET = (
    "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax",
)  # fmt: skip
RSNA_LABELS = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")
VINDR_LABELS = ("Pleural effusion", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")

MIMIC_NOTE = (
    "the outputs of the MIMIC-CXR head are named in the alphabetical order of its table, which the authors read by "
    "position; their own name list is in CheXpert's order"
)

_LABELS = {
    "tbx11k": ("Tuberculosis",),
    "node21": ("Nodule",),
    "candid_ptx": ("Pneumothorax",),
    "rsna_pneumonia": RSNA_LABELS,
    "chestx_det": CHESTX_DET,
    "siim_acr": ("Pneumothorax",),
    "chexpert": CHEXPERT_LABELS,
    "nih_chestxray14": NIH_LABELS,
    "vindr_cxr": VINDR_LABELS,
    "shenzhen": ("Tuberculosis",),
    "mimic_cxr": MIMIC_LABELS,
}

FOUNDATION_X_CLASSIFICATION = tuple(_LABELS)
"""Dataset of every classification head."""

FOUNDATION_X_SEGMENTATION = {2: "candid_ptx", 4: "chestx_det", 5: "siim_acr"}
"""Dataset of the segmentation heads that were trained."""

ARK = ("mimic_cxr", "chexpert", "nih_chestxray14", "rsna_pneumonia", "vindr_cxr", "shenzhen")
"""Dataset of every head of Ark; Ark-5 lacks the first."""


def classification_spec(dataset: str) -> TaskSpec:
    """Return the classification task of a published head."""
    exclusive = dataset == "rsna_pneumonia"
    return TaskSpec(Task(dataset, Kind.CLASSIFICATION), _LABELS[dataset], exclusive)


def segmentation_spec(dataset: str) -> TaskSpec:
    """Return the segmentation task of a published head."""
    return TaskSpec(Task(dataset, Kind.SEGMENTATION), _LABELS[dataset])
