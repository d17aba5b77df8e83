"""Cases as figures of the page: the image, and over it marks that can be taken away."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fx_monai.apps.cases import FILE
from fx_monai.apps.tables import number
from fx_monai.errors import DataError

MAX_SIDE = 320
QUALITY = 85
_SHOWN_FINDINGS = 8
_TRUTH = {1: "present", 0: "absent", None: "not known"}


@dataclass(frozen=True)
class Mark:
    """A shape over the image.

    Args:
        series: number of its colour; None = truth.
        label: what it marks, with the score.
        path: an SVG path.
    """

    series: int | None
    label: str
    path: str


@dataclass(frozen=True)
class Finding:
    """A label of the image: probability, per cent for its bar, what is true."""

    label: str
    probability: str
    percent: float
    truth: str


@dataclass(frozen=True)
class Picture:
    """A case: where it stands, what the image is called, how well it was predicted, what is seen."""

    place: str
    name: str
    quality: str
    measure: str
    source: str
    side: int
    alt: str
    marks: Sequence[Mark]
    findings: Sequence[Finding]


def read_pictures(folder: Path) -> dict[str, list[Picture]]:
    """Return the pictures of every task, by ``dataset/kind``; none when the folder holds no cases.

    Raises:
        DataError: the cases can't be read.
    """
    if not (folder / FILE).is_file():
        return {}
    try:
        cases = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found: dict[str, list[Picture]] = {}
        for case in cases:
            found.setdefault(f"{case['dataset']}/{case['kind']}", []).append(_picture(case, folder))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            where=str(folder / FILE),
            problem=f"the cases can't be read ({type(error).__name__})",
            expected="files that an evaluation of fx_monai wrote",
            remedy="Evaluate the weights again with `fx-monai evaluate --out`",
        ) from error
    return found


def _picture(case: Mapping[str, Any], folder: Path) -> Picture:
    labels = [item["label"] for kind in ("boxes", "truth_boxes", "masks", "truth_masks") for item in case[kind]]
    order = {label: at for at, label in enumerate(dict.fromkeys(labels))}
    marks = [Mark(order[m["label"]], m["label"], _outlines(m["outlines"])) for m in case["masks"]]
    marks += [Mark(None, m["label"], _outlines(m["outlines"])) for m in case["truth_masks"]]
    marks += [Mark(None, b["label"], _box(b["box"])) for b in case["truth_boxes"]]
    marks += [Mark(order[b["label"]], f"{b['label']} {b['score']:.2f}", _box(b["box"])) for b in case["boxes"]]
    findings = sorted(case["findings"], key=lambda own: (own["truth"] != 1, -own["probability"]))[:_SHOWN_FINDINGS]
    shown = [
        Finding(f["label"], f"{f['probability']:.2f}", round(100 * f["probability"], 1), _TRUTH[f["truth"]])
        for f in findings
    ]
    place = str(case["place"])
    said = [f"{f.label}: probability {f.probability}, {f.truth}" for f in shown]
    said += [f"{'truth' if mark.series is None else 'predicted'} {mark.label}" for mark in marks]
    alt = f"Chest radiograph, the {place} of {case['dataset']}/{case['kind']}; " + ("; ".join(said) or "no marks")
    # a name alone, so that no other folder is reached
    source = _data_uri(folder / Path(case["file"]).name)
    quality = number(float(case["quality"]))
    return Picture(place, case["image"], quality, case["measure"], source, int(case["side"]), alt, marks, shown)


def _box(box: Sequence[float]) -> str:
    x1, y1, x2, y2 = (float(value) for value in box)
    return f"M{x1:g} {y1:g}H{x2:g}V{y2:g}H{x1:g}Z"


def _outlines(outlines: Sequence[Sequence[Sequence[int]]]) -> str:
    # half a pixel on, to the middle of the pixels that the points name
    return "".join("M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in points) + "Z" for points in outlines)


def _data_uri(path: Path) -> str:
    with Image.open(path) as picture:
        small = picture.convert("L")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
