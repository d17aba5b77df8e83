"""TBX11K: PNG of 512 x 512 in imgs/{health,sick,tb,test,extra}; COCO JSON in those pixels, VOC XML in original ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Record
from fx_monai.data.readers.files import find_file, find_optional, read_json
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.voc_xml import read_voc_boxes
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = ("health", "sick", "Tuberculosis")
BOXES = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")

SPECS = (
    DatasetSpec(
        name="tbx11k",
        title="TBX11K",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="statements conflict (CC BY-NC-SA, CC BY); treat as non-commercial",
        url="https://mmcheng.net/tb/",
        citation="Liu et al., Rethinking Computer-aided Tuberculosis Diagnosis, CVPR 2020",
        # the third kind, uncertain, stands in none of the published boxes
        classes=Classes(labels=LABELS, boxes=BOXES[:2], exclusive_labels=True),
    ),
)

OPTIONS: tuple[str, ...] = ()

FRAME = 512
# in the order of the labels
_FOLDERS = ("health", "sick", "tb")
_LISTS = {"train": "TBX11K_train.txt", "val": "TBX11K_val.txt"}
_JSON = (
    ("TBX11K_trainval.json",),
    ("TBX11K_train.json", "TBX11K_val.json"),
    ("all_trainval.json",),
    ("all_train.json", "all_val.json"),
)
# what ``imgs/extra`` was copied from, by file name
_ORIGINS = (
    (r"CHNCXR_(\d+)_[01]", "shenzhen"),
    (r"MCUCXR_(\d+)_[01]", "montgomery"),
)


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree; the folder of an image is its label, of which exactly one holds.

    Boxes come from the JSON files, whose pixels are those of the images, or, where there are none, from the XML files,
    which are in the original image's pixels. Images without tuberculosis have none of the boxes; a tuberculosis image
    without any box wasn't boxed. The labels of the test images are withheld, and ``imgs/extra`` holds other sets'
    images with labels of their own: both are unknown here.
    """
    base = find_file(root, ("imgs/*/*.png", "*/imgs/*/*.png"), what="folder imgs").parents[2]
    boxes = _json_boxes(base) or _xml_boxes(base)
    split = _official_split(base)
    uncertain = any(box.class_index == 2 for found in boxes.values() for box in found)
    names = BOXES if uncertain else BOXES[:2]
    result = ReadResult([], classes=Classes(labels=LABELS, boxes=names, exclusive_labels=True))
    files = {path.relative_to(base / "imgs").as_posix(): path for path in (base / "imgs").rglob("[!.]*.png")}
    for image_id in sorted({*files, *split, *boxes}):
        path = files.get(image_id, base / "imgs" / image_id)
        if image_id not in files:
            result.missing.append(image_id)
        folder = image_id.split("/")[0]
        found = boxes.get(image_id, [])
        looked_for = bool(found) or folder in ("health", "sick")
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=path.relative_to(root).as_posix(),
                width=FRAME,
                height=FRAME,
                split="test" if folder == "test" else split.get(image_id, ""),
                labels=[float(folder == other) if folder in _FOLDERS else math.nan for other in _FOLDERS],
                boxes=found,
                boxes_annotated=list(range(len(names))) if looked_for else [],
                **_origin(name, image_id, path.stem),
            )
        )
    extra = sum(image_id.startswith("extra/") for image_id in files)
    if extra:
        result.notes.append(f"{name}: {extra} images of imgs/extra belong to other sets; their labels are unknown here")
    return result


def _origin(name: str, image_id: str, stem: str) -> dict[str, Any]:
    for pattern, origin in _ORIGINS:
        match = re.fullmatch(pattern, stem, re.IGNORECASE)
        if match:
            return {"patient_id": f"{origin}:{int(match[1])}", "source_image": f"{origin}/{stem.upper()}"}
    return {"patient_id": f"{name}:image:{image_id}"}


def _official_split(base: Path) -> dict[str, str]:
    split = {}
    for part, file in _LISTS.items():
        path = find_optional(base, (f"lists/{file}",))
        if path is not None:
            lines = path.read_text(encoding="utf-8").splitlines()
            split.update({line.strip(): part for line in lines if line.strip()})
    return split


def _json_boxes(base: Path) -> dict[str, list[Box]]:
    """Return image -> boxes of the first set of JSON files that is there, {} when there is none."""
    folder = base / "annotations" / "json"
    for names in _JSON:
        paths = [folder / name for name in names]
        if all(path.is_file() for path in paths):
            found: dict[str, list[Box]] = {}
            for path in paths:
                found.update(_boxes_of_file(path))
            return found
    return {}


def _boxes_of_file(path: Path) -> dict[str, list[Box]]:
    content = read_json(path)
    try:
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: _class(category["name"], path.name) for category in content["categories"]}
        found: dict[str, list[Box]] = {image["file_name"]: [] for image in images.values()}
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            where = f"{path.name}, annotation {annotation['id']}"
            if (image["width"], image["height"]) != (FRAME, FRAME):
                raise _bad(where, f"the image is {image['width']} x {image['height']}", f"{FRAME} x {FRAME}")
            x, y, w, h = (float(value) for value in annotation["bbox"])
            box = frame_box((x, y, x + w, y + h), names[annotation["category_id"]], (FRAME, FRAME), where=where)
            found[image["file_name"]].append(box)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"not a COCO file of this set ({type(error).__name__}: {error})"
        raise _bad(path.name, problem, "images, annotations and categories that refer to each other") from error
    return {image: boxes for image, boxes in found.items() if boxes}


def _xml_boxes(base: Path) -> dict[str, list[Box]]:
    found = {}
    for path in sorted((base / "annotations" / "xml").glob("[!.]*.xml")):
        boxes = []
        for label, corners in read_voc_boxes(path, frame=(FRAME, FRAME)):
            boxes.append(frame_box(corners, _class(label, path.name), (FRAME, FRAME), where=path.name))
        if boxes:
            found[f"tb/{path.stem}.png"] = boxes
    return found


def _class(label: str, where: str) -> int:
    for index, known in enumerate(BOXES):
        if known.lower() == str(label).lower():
            return index
    raise _bad(where, f"unknown class '{label}'", ", ".join(BOXES))


def _bad(where: str, problem: str, expected: str) -> DataError:
    return DataError(where=where, problem=problem, expected=expected, remedy="Download the file again or correct it")
