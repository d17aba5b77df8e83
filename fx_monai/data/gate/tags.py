"""What DICOM attributes say about modality, body part and view (PS3.3 C.7.3.1, C.8.11; body parts PS3.16 Annex L)."""

from __future__ import annotations

import re
from typing import Any

import pydicom

from fx_monai.data.gate.verdict import Judgement, Verdict
from fx_monai.data.readers.tables import view

# projection radiographs, and what says nothing (secondary captures of films)
_RADIOGRAPHS = ("CR", "DX", "RG", "RF", "XA")
_SILENT = ("", "OT", "SC", "DG")
_CHEST = re.compile(r"CHEST|THORA[XC]|\bLUNGS?\b|TORAX|\bCXR\b")
# shows the chest or a part of it, or a neighbour with it
_NEIGHBOURS = re.compile(
    r"RIB|STERN|CLAVIC|HEART|MEDIAST|SPINE|COLUMN|WHOLE ?BODY|TRUNK|ABDOMEN ?(?:AND |& ?|/ ?)?CHEST|CHEST ?ABD"
)
_OTHERS = re.compile(
    r"EXTREMIT|ABD|PELV|\bHIP|HEAD|SKULL|SINUS|JAW|MANDIB|TEETH|NECK|BREAST|SHOULDER|SCAPUL|HUMER|ELBOW|ARM|WRIST|HAND|"
    r"FINGER|THUMB|FEMUR|KNEE|PATELL|\bLEG|TIBIA|FIBULA|ANKLE|FOOT|HEEL|CALC|TOE|THIGH|\bEYE|ORBIT|NASAL|ZYGOMA|SACR|"
    r"COCCYX"
)
_LONGEST = 16
_FRONTAL, _LATERAL = ("PA", "AP"), ("LATERAL", "OTHER")
_TEXTS = ("SeriesDescription", "StudyDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")


def judge_tags(attributes: pydicom.Dataset) -> Judgement:
    """Judge by attributes alone.

    Accepted needs a body part and a view that say frontal chest; what is absent or ambiguous makes it uncertain, and
    the reasons tell what. One attribute that says something else refuses. Descriptions are read only where body part or
    view are absent: they are free text, so they can support and not refuse, except for the word lateral alone.
    """
    against: list[str] = []
    unknown: list[str] = []
    modality = str(attributes.get("Modality", "")).strip().upper()
    if modality not in (*_RADIOGRAPHS, *_SILENT):
        against.append(f"the modality is {modality}")
    elif modality in _SILENT:
        unknown.append("the modality is not told")
    for say in (_judge_part, _judge_view):
        refusal, doubt = say(attributes)
        against += [refusal] if refusal else []
        unknown += [doubt] if doubt else []
    if against:
        return Judgement(Verdict.REFUSED, tuple(against))
    return Judgement(Verdict.UNCERTAIN if unknown else Verdict.ACCEPTED, tuple(unknown))


def _judge_part(attributes: pydicom.Dataset) -> tuple[str, str]:
    """Return what refuses and what is in doubt about the body part; both empty for a chest."""
    told = str(attributes.get("BodyPartExamined", "")).strip().upper()[:_LONGEST]
    coded = " ".join(str(item.get("CodeMeaning", "")) for item in _items(attributes, "AnatomicRegionSequence")).upper()
    part = told or coded
    if not part:
        described = _CHEST.search(_descriptions(attributes)) and not _NEIGHBOURS.search(_descriptions(attributes))
        return "", "" if described else "the body part is not told"
    if _NEIGHBOURS.search(part):
        return "", f"the body part is {part}, which may show no whole chest"
    if _CHEST.search(part):
        return "", ""
    return (f"the body part is {part}", "") if _OTHERS.search(part) else ("", f"the body part '{part}' is not known")


def _judge_view(attributes: pydicom.Dataset) -> tuple[str, str]:
    told = str(attributes.get("ViewPosition", "")).strip()
    coded = " ".join(str(item.get("CodeMeaning", "")) for item in _items(attributes, "ViewCodeSequence"))
    for text in (told, coded.replace("-", "")):
        found = view(text)
        if found in _FRONTAL:
            return "", ""
        if found in _LATERAL:
            return f"the view is {text.upper()}, not frontal", ""
    # rows of a frontal image run between the patient's sides, rows of a lateral one between front and back
    row = str(next(iter(attributes.get("PatientOrientation") or ("",))))[:1].upper()
    if row in ("A", "P"):
        return "the rows run between front and back: a lateral view", ""
    if row in ("L", "R"):
        return "", ""
    # a study's description may name both of its views
    words = set(re.findall(r"[A-Z]+", _descriptions(attributes)))
    frontal, lateral = bool(words & set(_FRONTAL)), bool(words & {"LAT", "LATERAL"})
    if lateral and not frontal:
        return "the description says lateral", ""
    return "", "" if frontal and not lateral else "the view is not told"


def _items(attributes: pydicom.Dataset, name: str) -> list[Any]:
    return list(attributes.get(name) or ())


def _descriptions(attributes: pydicom.Dataset) -> str:
    return " ".join(str(attributes.get(name, "")) for name in _TEXTS).upper().replace("_", " ")
