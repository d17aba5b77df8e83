"""Writers of the tuberculosis sets: Shenzhen, TBX11K. An infiltrate of an upper field stands for tuberculosis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fx_monai.data.readers.tbx11k import BOXES
from fx_monai.data.readers.tbx11k import FRAME as TBX11K_FRAME
from fx_monai.demo.cases import Case
from fx_monai.demo.findings import INFILTRATION
from fx_monai.demo.native import frame_box, in_test

# of the images as they were annotated, before they were scaled down
_ORIGINAL = 2304


def write_shenzhen(cases: Sequence[Case], root: Path) -> None:
    """Write images, readings in several spellings, and lung masks, of which some are missing as in the real set."""
    base = root / "ChinaSet_AllFiles"
    images, readings, masks = base / "CXR_png", base / "ClinicalReadings", root / "mask" / "mask"
    for folder in (images, readings, masks):
        folder.mkdir(parents=True)
    for case in cases:
        ill = case.has(INFILTRATION)
        name = f"CHNCXR_{case.plan.number + 1:04d}_{int(ill)}"
        Image.fromarray(case.image).convert("RGB").save(images / f"{name}.png")
        sex = "male" if case.sex == "M" else "Female"
        age = (f" {case.age}yrs", f", {case.age}yrs", f" , {case.age} yr")[case.plan.number % 3]
        text = f"{sex}{age}\n" + ("secondary PTB in an upper field" if ill else "normal")
        (readings / f"{name}.txt").write_text(text, encoding="utf-8")
        if case.plan.number % 7:
            Image.fromarray((case.lungs[0] | case.lungs[1]) * 255).save(masks / f"{name}_mask.png")


def write_tbx11k(cases: Sequence[Case], root: Path) -> None:
    """Write images by folder, lists, COCO JSON in 512 x 512 and VOC XML in the original's pixels.

    As in the real set the test images have no labels, and one tuberculosis image has no boxes.
    """
    base, split = root / "TBX11K", {"train": [], "val": []}  # type: ignore[var-annotated]
    for folder in (
        "annotations/json",
        "annotations/xml",
        "lists",
        *(f"imgs/{n}" for n in ("health", "sick", "tb", "test")),
    ):
        (base / folder).mkdir(parents=True)
    unboxed = next((case.plan.number for case in cases if case.has(INFILTRATION) and not _withheld(case)), -1)
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    for case in cases:
        kind = "tb" if case.has(INFILTRATION) else "sick" if case.lesions else "health"
        file = (
            f"test/test_{case.plan.number:04d}.png"
            if _withheld(case)
            else f"{kind}/{kind[0]}{case.plan.number:04d}.png"
        )
        Image.fromarray(case.image).convert("RGB").save(base / "imgs" / file)
        if _withheld(case):
            continue
        split["val" if in_test(case) else "train"].append(file)
        boxed = [] if case.plan.number == unboxed else [les for les in case.lesions if les.name == INFILTRATION]
        content["images"].append(
            {"id": case.plan.number, "file_name": file, "width": TBX11K_FRAME, "height": TBX11K_FRAME}
        )
        if boxed:
            (base / "annotations" / "xml" / f"{Path(file).stem}.xml").write_text(_voc(case), encoding="utf-8")
        for lesion in boxed:
            x1, y1, x2, y2 = frame_box(lesion.mask, TBX11K_FRAME)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]),
                    "image_id": case.plan.number,
                    "category_id": _kind(case) + 1,
                    "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(BOXES, start=1)]
    text = json.dumps({**content, "categories": categories})
    (base / "annotations" / "json" / "TBX11K_trainval.json").write_text(text, encoding="utf-8")
    for name, files in split.items():
        (base / "lists" / f"TBX11K_{name}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")


def _withheld(case: Case) -> bool:
    return case.plan.number % 11 == 10


def _kind(case: Case) -> int:
    """Return the index of the box class: every third case is an obsolete tuberculosis."""
    return int(case.plan.number % 3 == 0)


def _voc(case: Case) -> str:
    """Return the boxes as VOC has them: pixels of the original counted from 1, the last one included."""
    objects = ""
    for lesion in case.lesions:
        if lesion.name == INFILTRATION:
            x1, y1, x2, y2 = np.round(frame_box(lesion.mask, _ORIGINAL)).astype(int)
            corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects += f"<object><name>{BOXES[_kind(case)]}</name><bndbox>{corners}</bndbox></object>"
    size = f"<size><width>{_ORIGINAL}</width><height>{_ORIGINAL}</height><depth>1</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


WRITERS = {"shenzhen": write_shenzhen, "tbx11k": write_tbx11k}
