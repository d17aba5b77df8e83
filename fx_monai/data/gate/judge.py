"""Tags and pixels together."""

from __future__ import annotations

from pathlib import Path

from fx_monai.data.gate.pixels import judge_pixels
from fx_monai.data.gate.tags import judge_tags
from fx_monai.data.gate.verdict import Judgement, Verdict
from fx_monai.data.pixels import Pixels, is_dicom, read_header


def judge_image(path: Path, pixels: Pixels) -> Judgement:
    """Judge a file by its DICOM attributes, if it has any, and its pixels.

    Args:
        path: the file; only its header is read.
        pixels: as :func:`fx_monai.data.pixels.read_pixels` returns them.
    """
    tags = judge_tags(read_header(path)) if is_dicom(path) else None
    return combine(tags, judge_pixels(pixels))


def combine(tags: Judgement | None, pixels: Judgement) -> Judgement:
    """Return the joint verdict.

    ======================  ==========  ===========  =========
    tags / pixels           accepted    uncertain    refused
    ======================  ==========  ===========  =========
    accepted                accepted    uncertain    uncertain
    uncertain (incomplete)  accepted    uncertain    refused
    refused                 refused     refused      refused
    none (no DICOM)         accepted    uncertain    refused
    ======================  ==========  ===========  =========

    Args:
        tags: judgement of the attributes, None for files without.
        pixels: judgement of the pixels.
    """
    if tags is None:
        tags = Judgement(Verdict.UNCERTAIN, ("there are no tags",))
    if tags.verdict is Verdict.REFUSED:
        return tags
    if tags.verdict is Verdict.ACCEPTED:
        doubtful = pixels.verdict is not Verdict.ACCEPTED
        return Judgement(Verdict.UNCERTAIN if doubtful else Verdict.ACCEPTED, pixels.reasons)
    judged = "judged by its pixels alone" if pixels.verdict is Verdict.ACCEPTED else ""
    return Judgement(pixels.verdict, (*pixels.reasons, *tags.reasons, *filter(None, [judged])))
