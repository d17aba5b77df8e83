"""Writers of the VinDr family: VinDr-CXR, VinBigData, VinDr-RibCXR, and CheXmask's table for VinDr-CXR."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fx_monai.data.readers.vinbigdata import LABELS as KAGGLE
from fx_monai.data.readers.vindr_cxr import LABELS, NOTHING
from fx_monai.data.readers.vindr_ribcxr import MISSING_RIB, RIBS
from fx_monai.demo.cases import Case
from fx_monai.demo.findings import CARDIOMEGALY, CONSOLIDATION, EFFUSION, NODULE, PNEUMOTHORAX, bounds
from fx_monai.demo.native import in_test, random_bytes, write_dicom, write_rows
from fx_monai.ops.masks import encode_absolute_rle

_NAMES = {
    CARDIOMEGALY: "Cardiomegaly",
    CONSOLIDATION: "Consolidation",
    EFFUSION: "Pleural effusion",
    NODULE: "Nodule/Mass",
    PNEUMOTHORAX: "Pneumothorax",
}
_READERS = ("R8", "R9", "R10")
_Boxes = list[tuple[str, list[float]]]


def write_vindr_cxr(cases: Sequence[Case], root: Path) -> None:
    """Write the PhysioNet tree: three readers who see nearly the same in train, their consensus in test."""
    folder = root / "annotations"
    folder.mkdir(parents=True)
    rows: dict[str, list[list[object]]] = {f"{kind}_{split}": [] for kind in _HEADERS for split in ("train", "test")}
    for case in cases:
        split, image = "test" if in_test(case) else "train", image_name(case)
        _write_image(case, root / split)
        for reader in ("",) if split == "test" else _READERS:
            who = [reader] if reader else []
            found = read_case(case, reader)
            named = {name for name, _ in found} | ({"Pneumonia"} if case.has(CONSOLIDATION) and found else set())
            votes = [int(label in (named or {NOTHING})) for label in LABELS]
            rows[f"image_labels_{split}"].append([image, *who, *votes])
            boxes = [[image, *who, name, *corners] for name, corners in found]
            rows[f"annotations_{split}"] += boxes or [[image, *who, NOTHING, "", "", "", ""]]
    for name, content in rows.items():
        header = _HEADERS[name.rpartition("_")[0]]
        if name.endswith("test"):
            header = header.replace("rad_id,", "").replace("Other diseases", "Other disease")
        write_rows(folder / f"{name}.csv", header, content)


_HEADERS = {
    "image_labels": f"image_id,rad_id,{','.join(LABELS)}\n",
    "annotations": "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n",
}


def write_vinbigdata(cases: Sequence[Case], root: Path) -> None:
    """Write the Kaggle tree of VinDr-CXR's training cases; its test images have no labels and are left away."""
    rows: list[list[object]] = []
    for case in cases:
        if in_test(case):
            continue
        _write_image(case, root / "train")
        for reader in _READERS:
            found = read_case(case, reader)
            boxes = [[name, KAGGLE.index(name), reader, *map(round, corners)] for name, corners in found]
            nothing = [NOTHING, KAGGLE.index(NOTHING), reader, "", "", "", ""]
            rows += [[image_name(case), *row] for row in boxes or [nothing]]
    write_rows(root / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n", rows)


def write_chexmask(cases: Sequence[Case], root: Path) -> None:
    """Write the masks of VinDr-CXR's cases; the images are those of its own tree (option ``parent_root``)."""
    folder = root / "OriginalResolution"
    folder.mkdir(parents=True)
    rows: list[list[object]] = []
    for case in cases:
        quality = np.random.default_rng([case.plan.seed, case.plan.number, 13]).uniform(0.6, 0.95)
        masks = [encode_absolute_rle(mask) for mask in (*case.lungs, case.heart)]
        height, width = case.image.shape
        rows.append([image_name(case), f"{quality:.4f}", f"{quality + 0.02:.4f}", "[]", *masks, height, width])
    header = "image_id,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width\n"
    write_rows(folder / "VinDr-CXR.csv", header, rows)


def write_vindr_ribcxr(cases: Sequence[Case], root: Path) -> None:
    """Write images and the column-oriented JSON of rib outlines; some first ribs are not drawn, as in the real set."""
    names: dict[str, list[str]] = {"train": [], "val": []}
    tables: dict[str, dict[str, dict[str, object]]] = {
        split: {column: {} for column in ("img", *RIBS)} for split in names
    }
    for case in cases:
        split = "val" if in_test(case) else "train"
        key, name = str(len(names[split])), f"VinDr_RibCXR_{split}_{len(names[split]):03d}.png"
        names[split].append(name)
        folder = root / "data" / split / "img"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(case.image).save(folder / name)
        tables[split]["img"][key] = f"data/{split}/img/{name}"
        for rib, outline in zip(RIBS, case.ribs, strict=True):
            points = [{"x": round(float(x), 1), "y": round(float(y), 1)} for x, y in outline]
            drawn = rib not in ("R1", "L1") or case.plan.number % 3
            tables[split][rib][key] = points if drawn else MISSING_RIB
    for split, content in tables.items():
        (root / f"Vindr_RibCXR_{split}_mask.json").write_text(json.dumps(content), encoding="utf-8")


def image_name(case: Case) -> str:
    """Return the id of a case in VinDr-CXR."""
    return random_bytes(case, 16).hex()


def read_case(case: Case, reader: str) -> _Boxes:
    """Return class and box (xyxy, pixels) of what a reader draws: each box a little off, some findings overlooked."""
    if not reader:
        return [(_NAMES[lesion.name], [float(v) for v in bounds(lesion.mask)]) for lesion in case.lesions]
    generator = np.random.default_rng([case.plan.seed, case.plan.number, *map(ord, reader)])
    side, found = case.image.shape[0], []
    for lesion in case.lesions:
        shift, overlooked = generator.normal(0, 0.008 * side, 4), generator.uniform() < 0.12
        x1, y1, x2, y2 = (float(v) for v in (np.array(bounds(lesion.mask)) + shift).clip(0, side).round(2))
        if not overlooked and x1 < x2 and y1 < y2:
            found.append((_NAMES[lesion.name], [x1, y1, x2, y2]))
    return found


def _write_image(case: Case, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_dicom(folder / f"{image_name(case)}.dicom", case, age=f"{case.age:03d}Y")


WRITERS = {
    "vindr_cxr": write_vindr_cxr,
    "vinbigdata": write_vinbigdata,
    "chexmask": write_chexmask,
    "vindr_ribcxr": write_vindr_ribcxr,
}
