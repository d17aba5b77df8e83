"""Codes for what is found: SNOMED CT and DICOM where the vocabulary has a code that means just this, else our own.

Sources of the codes: DICOM PS3.16 (context groups and Annex D), by way of the column ``code`` of
``configs/vocabulary/findings.tsv``. A label that is only close to, narrower or broader than its finding, and a label of
an in-house dataset, get a code of the private scheme :data:`SCHEME`, which every object declares.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from fx_monai.data.vocabulary import Relation, vocabulary
from fx_monai.inference.result import Definition

SCHEME = "99FXMONAI"
# (0008,0104) Code Meaning is LO
_LONGEST_MEANING = 64
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right, "both": codes.SCT.RightAndLeft}
_CATEGORIES = {
    "finding": codes.SCT.MorphologicallyAbnormalStructure,
    "device": codes.SCT.PhysicalObject,
    "anatomy": codes.SCT.AnatomicalStructure,
}


def private_code(value: str, meaning: str) -> Code:
    """Return a code of our own scheme."""
    return Code(value, SCHEME, meaning[:_LONGEST_MEANING])


def concept_of(item: Definition) -> CodedConcept:
    """Return the code of what a result names, without its side."""
    finding = vocabulary().findings.get(item.finding or "")
    if finding is None:
        return CodedConcept.from_code(private_code(f"{item.dataset}:{item.label}", item.label))
    meaning = finding.id.replace("_", " ")
    if item.relation != Relation.SAME.value:
        return CodedConcept.from_code(private_code(f"{item.dataset}:{item.label}", f"{item.label} ({meaning})"))
    if not finding.code:
        return CodedConcept.from_code(private_code(finding.id, meaning))
    scheme, value = finding.code.split()
    return CodedConcept(value, scheme, meaning)


def side_of(item: Definition) -> CodedConcept | None:
    """Return the code of the patient's side that a label names; None when it names none."""
    return CodedConcept.from_code(_SIDES[item.side]) if item.side in _SIDES else None


def category_of(item: Definition) -> Code:
    """Return the category of a segment; labels whose finding isn't known count as morphology."""
    finding = vocabulary().findings.get(item.finding or "")
    return _CATEGORIES.get(finding.category if finding else "finding", codes.SCT.MorphologicallyAbnormalStructure)


def private_scheme() -> CodingSchemeIdentificationItem:
    """Return the declaration of our own scheme."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="Labels and findings of fx_monai", responsible_organization="The fx_monai developers"
    )
