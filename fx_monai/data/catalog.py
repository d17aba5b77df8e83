"""The datasets fx_monai can read: one entry each. Adding a dataset is an entry here and a short reader."""

from __future__ import annotations

from dataclasses import dataclass, field

from fx_monai.data.manifest import Classes
from fx_monai.errors import ConfigError, did_you_mean
from fx_monai.types import Kind

_C, _L, _S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION

NIH_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
NIH_BOXES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
)  # fmt: skip
CHESTX_DET = (
    "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "Diffuse Nodule", "Effusion", "Emphysema",
    "Fibrosis", "Fracture", "Mass", "Nodule", "Pleural Thickening", "Pneumothorax",
)  # fmt: skip
RSNA_LABELS = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")


@dataclass(frozen=True)
class DatasetSpec:
    """What is known about a dataset before its files are read.

    Args:
        name: as in recipes and on the command line.
        title: full name.
        kinds: tasks its annotations allow.
        reader: module in :mod:`fx_monai.data.readers`.
        licence: terms in a few words.
        url: where to get it.
        citation: what to cite.
        classes: class names; empty when they stand in the files.
        laterality: pairs of classes that a mirror image swaps.
        options: options the reader is always called with.
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    reader: str
    licence: str
    url: str
    citation: str
    classes: Classes = field(default_factory=Classes)
    laterality: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


_SPECS = (
    DatasetSpec(
        name="nih_chestxray14",
        title="NIH ChestX-ray14",
        kinds=(_C, _L),
        reader="nih_chestxray14",
        licence="no use restriction, attribution",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        citation="Wang et al., ChestX-ray8, CVPR 2017",
        classes=Classes(labels=NIH_LABELS, boxes=NIH_BOXES),
    ),
    DatasetSpec(
        name="rsna_pneumonia",
        title="RSNA Pneumonia Detection Challenge 2018",
        kinds=(_C, _L),
        reader="rsna_pneumonia",
        licence="any purpose with attribution (RSNA); competition rules (Kaggle)",
        url="https://www.rsna.org/rsnai/ai-image-challenge/rsna-pneumonia-detection-challenge-2018",
        citation="Shih et al., Radiology: AI 2019, doi 10.1148/ryai.2019180041",
        classes=Classes(labels=RSNA_LABELS, boxes=("Lung Opacity",), exclusive_labels=True),
    ),
    DatasetSpec(
        name="chestx_det",
        title="ChestX-Det",
        kinds=(_C, _L, _S),
        reader="chestx_det",
        licence="annotations Apache-2.0, images NIH",
        url="https://github.com/Deepwise-AILab/ChestX-Det-Dataset",
        citation="Lian et al., A Structure-Aware Relation Network for Thoracic Diseases Detection, IEEE TMI 2021",
        classes=Classes(labels=CHESTX_DET, boxes=CHESTX_DET, masks=CHESTX_DET),
    ),
    DatasetSpec(
        name="siim_acr",
        title="SIIM-ACR Pneumothorax Segmentation 2019",
        kinds=(_C, _L, _S),
        reader="siim_acr",
        licence="competition rules (Kaggle)",
        url="https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation",
        citation="Filice et al., J Digit Imaging 2020",
        classes=Classes(labels=("Pneumothorax",), boxes=("Pneumothorax",), masks=("Pneumothorax",)),
    ),
    DatasetSpec(
        name="montgomery",
        title="NLM Montgomery County",
        kinds=(_C, _S),
        reader="montgomery",
        licence="public, cite two papers",
        url="https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html",
        citation="Jaeger et al., Quant Imaging Med Surg 2014; Candemir et al., IEEE TMI 2014",
        classes=Classes(labels=("Tuberculosis",), masks=("left lung", "right lung")),
        laterality=(("left lung", "right lung"),),
    ),
    DatasetSpec(
        name="generalblockchain_lungs",
        title="GeneralBlockchain COVID-19 chest X-ray lung boxes",
        kinds=(_L,),
        reader="coco",
        licence="annotations CC BY 4.0, images each their own",
        url="https://github.com/GeneralBlockchain/covid-19-chest-xray-lung-bounding-boxes-dataset",
        citation="GeneralBlockchain, 2020",
        laterality=(("Left Lung", "Right Lung"),),
        options=(("annotations", "lung_boxes_generalblockchain_coco.json|annotations.json"), ("namespace", "covidcxr")),
    ),
    DatasetSpec(
        name="v7_lungs",
        title="V7 Labs COVID-19 X-ray lung polygons",
        kinds=(_S,),
        reader="coco",
        licence="annotations CC BY 4.0, images each their own",
        url="https://github.com/v7labs/covid-19-xray-dataset",
        citation="V7 Labs, 2020",
        options=(
            ("annotations", "v7_lung_polygons_coco.json|output_coco.json"),
            ("namespace", "covidcxr"),
            ("ignore_classes", "Ignore"),
        ),
    ),
    DatasetSpec(
        name="coco",
        title="any folder with a COCO JSON",
        kinds=(_L, _S),
        reader="coco",
        licence="yours",
        url="",
        citation="",
    ),
    DatasetSpec(
        name="csv",
        title="any folder with a table of labels",
        kinds=(_C,),
        reader="label_csv",
        licence="yours",
        url="",
        citation="",
    ),
)

CATALOG = {spec.name: spec for spec in _SPECS}


def find_dataset(name: str) -> DatasetSpec:
    """Return the entry of a dataset.

    Raises:
        ConfigError: no such dataset.
    """
    if name not in CATALOG:
        raise ConfigError(
            where=f"dataset '{name}'",
            problem=f"there is no such dataset. {did_you_mean(name, CATALOG)}".rstrip(),
            expected=f"one of {', '.join(CATALOG)}",
            remedy="See `fx-monai datasets`; in-house folders are read as 'coco' or 'csv'",
        )
    return CATALOG[name]
