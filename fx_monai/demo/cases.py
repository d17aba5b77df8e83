"""A case: one image of one patient at one site, with its findings. A pure function of its plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fx_monai.demo.anatomy import Patient, Pose, build_anatomy
from fx_monai.demo.film import SITES, expose
from fx_monai.demo.findings import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EFFUSION,
    FINDINGS,
    INFILTRATION,
    NODULE,
    PNEUMOTHORAX,
    Lesion,
)

# probability of each finding per dataset; findings co-occur
PREVALENCE = {
    "nih_chestxray14": {NODULE: 0.25, EFFUSION: 0.22, PNEUMOTHORAX: 0.2, CARDIOMEGALY: 0.22, INFILTRATION: 0.22},
    "rsna_pneumonia": {CONSOLIDATION: 0.5, NODULE: 0.15, CARDIOMEGALY: 0.15},
    "chestx_det": {NODULE: 0.3, CONSOLIDATION: 0.32, EFFUSION: 0.3, PNEUMOTHORAX: 0.25, CARDIOMEGALY: 0.25},
    "siim_acr": {PNEUMOTHORAX: 0.5, NODULE: 0.12, EFFUSION: 0.12},
    "montgomery": {INFILTRATION: 0.45},
    "chexpert": {NODULE: 0.2, CONSOLIDATION: 0.25, EFFUSION: 0.3, PNEUMOTHORAX: 0.2, CARDIOMEGALY: 0.25},
    "mimic_cxr": {NODULE: 0.2, CONSOLIDATION: 0.25, EFFUSION: 0.3, PNEUMOTHORAX: 0.2, CARDIOMEGALY: 0.25},
    "vindr_cxr": {NODULE: 0.25, CONSOLIDATION: 0.25, EFFUSION: 0.25, PNEUMOTHORAX: 0.2, CARDIOMEGALY: 0.25},
    "vindr_ribcxr": {NODULE: 0.15},
    "padchest": {NODULE: 0.2, CONSOLIDATION: 0.25, EFFUSION: 0.3, PNEUMOTHORAX: 0.15, CARDIOMEGALY: 0.25},
    "shenzhen": {INFILTRATION: 0.5},
    "tbx11k": {INFILTRATION: 0.4, EFFUSION: 0.2, CARDIOMEGALY: 0.15},
    "node21": {NODULE: 0.4},
    "candid_ptx": {PNEUMOTHORAX: 0.4, EFFUSION: 0.15, NODULE: 0.1},
    "jsrt": {NODULE: 0.6},
}
# at most so many of one kind in an image
_REPEATS = {NODULE: 3, CONSOLIDATION: 2, INFILTRATION: 2}
# whose images have one lesion at most
_SINGLE = ("jsrt",)


@dataclass(frozen=True)
class CasePlan:
    """What to generate.

    Args:
        dataset: decides site and findings.
        number: of the image within the dataset.
        patient: number of the patient within the dataset.
        seed: of the cohort.
    """

    dataset: str
    number: int
    patient: int
    seed: int


@dataclass(frozen=True)
class Case:
    """A generated image.

    Args:
        plan: what it was generated from.
        image: (S, S) uint8, bone bright.
        lesions: all findings.
        lungs: masks (S, S) of the patient's left and right lung.
        heart: mask (S, S).
        ribs: outlines (N, 2) in pixels, R1 to R10, then L1 to L10 (patient's sides).
        age, sex, view: of the patient and the acquisition.
    """

    plan: CasePlan
    image: NDArray[np.uint8]
    lesions: tuple[Lesion, ...]
    lungs: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    heart: NDArray[np.uint8]
    ribs: tuple[NDArray[np.float64], ...]
    age: int
    sex: str
    view: str

    def has(self, name: str) -> bool:
        """Return whether the case shows a finding."""
        return any(lesion.name == name for lesion in self.lesions)


def make_case(plan: CasePlan, side: int) -> Case:
    """Generate one case; the same plan gives the same bytes."""
    who = _generator(plan, "patient", plan.patient)
    patient = Patient.draw(who)
    age, sex = int(who.integers(18, 90)), "F" if who.uniform() < 0.5 else "M"
    if sex == "M":
        patient.breast_cm = 0.0
    how = _generator(plan, "image", plan.number)
    view = "AP" if how.uniform() < 0.4 else "PA"
    pose = Pose.draw(how, ap=view == "AP")
    present = [name for name, chance in PREVALENCE[plan.dataset].items() if how.uniform() < chance]
    enlarged = CARDIOMEGALY in present
    anatomy = build_anatomy(side, patient, pose, heart_scale=how.uniform(1.28, 1.5) if enlarged else 1.0)
    lesions = [Lesion(CARDIOMEGALY, anatomy.heart)] if enlarged else []
    for name, add in FINDINGS.items():
        most = 1 if plan.dataset in _SINGLE else _REPEATS.get(name, 1)
        for _ in range(int(how.integers(1, most + 1)) if name in present else 0):
            lesion = add(anatomy, how)
            if lesion.mask.sum() >= (0.024 * side) ** 2:
                anatomy.taken |= lesion.mask
                lesions.append(lesion)
    image = expose(anatomy, SITES[plan.dataset], how)
    # the patient's left lung stands at the right of the image
    lungs = (anatomy.lungs[1], anatomy.lungs[0])
    ribs = tuple(_outline(line, anatomy.rib_width) for line in anatomy.ribs)
    return Case(plan, image, tuple(lesions), lungs, anatomy.heart, ribs, age, sex, view)


def _outline(line: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return the outline of a band around a line."""
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True) * width / 2
    return np.concatenate([line + across, (line - across)[::-1]])


def _generator(plan: CasePlan, purpose: str, number: int) -> np.random.Generator:
    name = [ord(letter) for letter in f"{plan.dataset} {purpose}"]
    return np.random.default_rng([plan.seed, number, *name])
