"""JSRT nodule images (raw 12-bit .IMG) with clinical text, and the SCR masks of lungs, heart and clavicles."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.formats.jsrt_raw import SIDE as FRAME
from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, sex
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = ("Nodule", "Malignant nodule")
ORGANS = ("left lung", "right lung", "heart", "left clavicle", "right clavicle")

SPECS = (
    DatasetSpec(
        name="jsrt",
        title="JSRT nodules with SCR organ masks",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="free for research after registration; masks for research",
        url="http://db.jsrt.or.jp/eng.php",
        citation="Shiraishi et al., AJR 2000; masks: van Ginneken et al., Med Image Anal 2006",
        classes=Classes(labels=LABELS, boxes=("Nodule",), masks=ORGANS),
        laterality=(("left lung", "right lung"), ("left clavicle", "right clavicle")),
    ),
)

OPTIONS: tuple[str, ...] = ()

SPACING_MM = 0.175
_SCR_SCALE = 2
_NODULE = re.compile(
    r"(?P<image>JPCLN\d{3})(?:\.IMG)?\s+(?P<subtlety>[1-5])\s+(?P<size>\d+(?:\.\d+)?)\s+(?P<age>\d+|\?)\s+"
    r"(?P<sex>\w+)\s+(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<kind>benign|malignant)\b",
    re.IGNORECASE,
)
_NORMAL = re.compile(r"(?P<image>JPCNN\d{3})(?:\.IMG)?\s+(?P<age>\d+|\?)\s+(?P<sex>\w+)", re.IGNORECASE)


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    LN images show one confirmed nodule, NN images none; the clinical text gives its centre and diameter, which become
    a square box, cut at the image's edge. Without the text the box is unknown. Organs of an image without SCR masks are
    unknown. The split is the SCR protocol's: fold 1 (odd numbers) trains, fold 2 tests.
    """
    first = find_file(root, ("JPC[LN]N*.IMG", "**/JPC[LN]N*.IMG", "**/JPC[LN]N*.img"), what="image JPCLN001.IMG")
    pattern = re.compile(r"JPC([LN])N(\d{3})\.IMG", re.IGNORECASE)
    images = {path.stem.upper(): path for path in sorted(root.rglob("*")) if pattern.fullmatch(path.name)}
    about = _clinical(root)
    organs = _organ_masks(root)
    result = ReadResult([], missing=sorted(about.keys() - images.keys()))
    for image_id in sorted({*images, *about}):
        path = images.get(image_id, first.parent / f"{image_id}.IMG")
        known = about.get(image_id, {})
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=path.relative_to(root).as_posix(),
                width=FRAME,
                height=FRAME,
                patient_id=f"jsrt:{image_id}",
                source_image=f"jsrt/{image_id}",
                view="PA",
                sex=sex(known.get("sex", "")),
                age_years=age_years(known.get("age", "")),
                split="train" if int(image_id[-3:]) % 2 else "test",
                spacing_mm_x=SPACING_MM,
                spacing_mm_y=SPACING_MM,
                **_nodule(image_id, known),
                **_organs(organs.get(image_id, {}), root),
            )
        )
    return result


def parse_clinical(text: str, where: str) -> dict[str, dict[str, str]]:
    """Return image -> what its line of ``CLNDAT_EN.txt`` or ``CNNDAT_EN.TXT`` tells.

    Fields are separated by tabs or any blanks, lines end in any way, ages may be ``?``.

    Raises:
        DataError: a line of an image that can't be read.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not re.match(r"\s*JPC[LN]N", line, re.IGNORECASE):
            continue
        match = _NODULE.match(line.strip()) or _NORMAL.match(line.strip())
        if match is None:
            raise DataError(
                where=f"{where}, line {number}",
                problem="a line that can't be read",
                expected="image, subtlety, size, age, sex, x, y, benign or malignant; or image, age, sex",
                remedy="Download the file again or correct the line",
            )
        found[match["image"].upper()] = {key: value for key, value in match.groupdict().items() if value}
    return found


def parse_landmarks(text: str) -> dict[str, list[list[float]]]:
    """Return organ -> flat outline x1, y1, x2, y2, ... in pixels of the image, from an SCR ``.pfs`` file."""
    outlines = {}
    for block in re.split(r"(?=\[Label=)", text):
        label = re.match(r"\[Label=([\w ]+)\]", block)
        if label and label[1].lower() in ORGANS:
            points = re.findall(r"\{\s*([-\d.]+)\s*,\s*([-\d.]+)\s*\}", block)
            outlines[label[1].lower()] = [[float(value) * _SCR_SCALE for point in points for value in point]]
    return outlines


def _clinical(root: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob("*")):
        if re.fullmatch(r"C[LN]NDAT_EN\.TXT", path.name, re.IGNORECASE):
            # universal newlines: some copies end their lines with carriage returns alone
            found.update(parse_clinical(path.read_text(encoding="utf-8", errors="replace"), path.name))
    return found


def _nodule(image_id: str, known: Mapping[str, str]) -> dict[str, Any]:
    if image_id.startswith("JPCNN"):
        return {"labels": [0.0, 0.0], "boxes": [], "boxes_annotated": [0]}
    if not known:
        return {"labels": [1.0, math.nan], "boxes": [], "boxes_annotated": []}
    malignant = float(known["kind"].lower() == "malignant")
    return {"labels": [1.0, malignant], "boxes": [_box(image_id, known)], "boxes_annotated": [0]}


def _box(image_id: str, known: Mapping[str, str]) -> Box:
    x, y, radius = float(known["x"]), float(known["y"]), float(known["size"]) / SPACING_MM / 2
    corners = [min(max(value, 0.0), float(FRAME)) for value in (x - radius, y - radius, x + radius, y + radius)]
    return frame_box(corners, 0, (FRAME, FRAME), where=f"clinical text, image {image_id}")


def _organ_masks(root: Path) -> dict[str, dict[str, Path]]:
    """Return image -> organ -> mask file, or image -> "" -> landmark file where an image has no mask files."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(root.rglob("*")):
        organ, suffix = path.parent.name.lower().replace("_", " "), path.suffix.lower()
        if re.fullmatch(r"JPC[LN]N\d{3}", path.stem, re.IGNORECASE):
            if organ in ORGANS and suffix in (".gif", ".png"):
                found[path.stem.upper()][organ] = path
            elif suffix == ".pfs":
                found[path.stem.upper()].setdefault("", path)
    return found


def _organs(files: Mapping[str, Path], root: Path) -> dict[str, Any]:
    masks = [
        Mask(index, "file", files[organ].relative_to(root).as_posix())
        for index, organ in enumerate(ORGANS)
        if organ in files
    ]
    if not masks and "" in files:
        outlines = parse_landmarks(files[""].read_text(encoding="utf-8", errors="replace"))
        masks = [Mask(ORGANS.index(organ), "polygon", json.dumps(outline)) for organ, outline in outlines.items()]
    return {"masks": masks, "masks_annotated": sorted(mask.class_index for mask in masks)}
