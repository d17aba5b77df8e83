"""What a network says about an image: immutable values, every one with the head, the label and the finding it means."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fx_monai import __version__
from fx_monai.data.gate import Verdict
from fx_monai.data.vocabulary import Relation, vocabulary
from fx_monai.models.card import ModelCard

DRAWN_PER_LABEL = 3


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Whose word a result is and what it means.

    Args:
        dataset: the head; its labels are defined as this dataset defines them.
        label: the dataset's own string.
        finding: id of the harmonised finding (``configs/vocabulary/findings.tsv``); None for in-house labels.
        relation: how the label stands to the finding: ``=`` the same, ``<`` narrower, ``>`` broader, ``~`` close; None
            without a finding.
        side: the patient's side that the label names: ``left``, ``right``, ``both``; None when it names none.
    """

    dataset: str
    label: str
    finding: str | None = None
    relation: str | None = None
    side: str | None = None

    @classmethod
    def of(cls, dataset: str, label: str, **values: Any) -> Self:
        """Return an object whose finding and side are looked up in the vocabulary."""
        meaning = vocabulary().meaning(dataset, label)
        if meaning is None or meaning.relation is Relation.NONE:
            return cls(dataset=dataset, label=label, **values)
        found = {"finding": meaning.finding, "relation": meaning.relation.value, "side": meaning.side or None}
        return cls(dataset=dataset, label=label, **found, **values)


@dataclass(frozen=True, kw_only=True)
class Finding(Definition):
    """One probability of a classification head.

    Args:
        probability: that the finding is present; of an exclusive head that it is the one that holds.
        calibrated: the probability was scaled by a temperature fitted on validation.
        threshold: operating threshold: probability from which on the finding counts as present, fitted on validation;
            None = there is none.
    """

    probability: float
    calibrated: bool = False
    threshold: float | None = None

    @property
    def present(self) -> bool | None:
        """Return whether the finding counts as present; None without a threshold."""
        return None if self.threshold is None else self.probability >= self.threshold


@dataclass(frozen=True, kw_only=True)
class FoundBox(Definition):
    """One box of a localization head.

    Args:
        score: 0 to 1, not calibrated.
        x1, y1, x2, y2: pixels of the source image; the origin is the top left corner of the first pixel.
        width_mm, height_mm: None when the pixel spacing isn't known.
    """

    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    width_mm: float | None = None
    height_mm: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundMask(Definition):
    """One mask of a segmentation head; empty masks stand here too.

    Args:
        mask: (H, W) bool, pixels of the source image, read-only.
        area_px: pixels of the source image.
        area_mm2: None when the pixel spacing isn't known.
    """

    mask: NDArray[np.bool_]
    area_px: int
    area_mm2: float | None = None


@dataclass(frozen=True)
class ImageFacts:
    """What is known of the image that was predicted.

    Args:
        width, height: pixels.
        spacing_mm: mm per pixel (x, y) in the detector or, when the file says so, the patient; None = not known.
        format: ``dicom``, ``png``, ...; "array" for pixels in memory.
        sha256: of the file's bytes; None for pixels in memory.
        verdict: whether it counts as a frontal chest radiograph, see :mod:`fx_monai.data.gate`.
        reasons: of the verdict.
    """

    width: int
    height: int
    spacing_mm: tuple[float, float] | None = None
    format: str = "array"
    sha256: str | None = None
    verdict: Verdict = Verdict.UNCERTAIN
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelIdentity:
    """Which weights were used.

    Args:
        name: of the bundle, or of the recipe.
        version: of the bundle, or of the package that trained the weights.
        weights_sha256: of the weights file; "" for a network in memory.
        card: that travels inside the weights.
        fx_monai_version: of the package that runs them.
    """

    name: str
    version: str
    weights_sha256: str
    card: ModelCard
    fx_monai_version: str = __version__

    @property
    def note(self) -> str:
        """Return what has to stand in every output: the use, and what demo weights were trained on."""
        return self.card.statement


@dataclass(frozen=True)
class Prediction:
    """Everything the network says about one image.

    Args:
        image: facts.
        model: which weights.
        findings: every class of every classification head, in the order of the heads.
        boxes: with at least the least score, best first per dataset.
        masks: one per class of every segmentation head.
        warnings: what a reader has to know before trusting the numbers.
    """

    image: ImageFacts
    model: ModelIdentity
    findings: tuple[Finding, ...] = ()
    boxes: tuple[FoundBox, ...] = ()
    masks: tuple[FoundMask, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """Return what has to stand in every output: "research use only" and, of demo weights, "trained on phantoms"."""
        return self.model.note

    def best_boxes(self, per_label: int = DRAWN_PER_LABEL) -> list[FoundBox]:
        """Return the best boxes of every label of every dataset, few enough to be drawn."""
        drawn: Counter[tuple[str, str]] = Counter()
        best = []
        for box in self.boxes:
            drawn[box.dataset, box.label] += 1
            if drawn[box.dataset, box.label] <= per_label:
                best.append(box)
        return best
