"""The datasets fx_monai can read. Adding one is a short reader with its ``SPECS``, named here."""

from __future__ import annotations

from fx_monai.data.readers import (
    candid_ptx,
    chestx_det,
    chestx_det10,
    chexlocalize,
    chexmask,
    chexpert,
    coco,
    covid_chestxray,
    hannover_covid,
    jsrt,
    label_csv,
    mimic_cxr,
    montgomery,
    nih_chestxray14,
    nih_google,
    node21,
    padchest,
    rsna_pneumonia,
    shenzhen,
    siim_acr,
    tbx11k,
    vinbigdata,
    vindr_cxr,
    vindr_ribcxr,
)
from fx_monai.data.readers.result import Reader
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import ConfigError, did_you_mean

_READERS: tuple[Reader, ...] = (
    chexpert,
    chexlocalize,
    mimic_cxr,
    vindr_cxr,
    vinbigdata,
    padchest,
    chexmask,
    vindr_ribcxr,
    nih_chestxray14,
    nih_google,
    rsna_pneumonia,
    chestx_det,
    siim_acr,
    shenzhen,
    tbx11k,
    node21,
    candid_ptx,
    chestx_det10,
    montgomery,
    jsrt,
    hannover_covid,
    covid_chestxray,
    coco,
    label_csv,
)

CATALOG = {spec.name: spec for reader in _READERS for spec in reader.SPECS}
READERS = {spec.name: reader for reader in _READERS for spec in reader.SPECS}


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
