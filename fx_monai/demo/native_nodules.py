"""Writers of the nodule sets: NODE21, JSRT with SCR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fx_monai.data.formats.jsrt_raw import HIGHEST, SIDE
from fx_monai.data.readers.jsrt import SPACING_MM
from fx_monai.demo.cases import Case
from fx_monai.demo.findings import NODULE, bounds
from fx_monai.demo.native import frame_box, to_frame, write_rows

_SCR_SIDE = 1024


def write_node21(cases: Sequence[Case], root: Path) -> None:
    """Write the processed release (its folder spelt as distributed): MHA of 16 bit and metadata.csv."""
    folder = root / "cxr_images" / "proccessed_data"
    (folder / "images").mkdir(parents=True)
    rows: list[list[object]] = []
    for case in cases:
        name = f"{'n' if case.has(NODULE) else 'c'}{case.plan.number:04d}.mha"
        write_metaimage(folder / "images" / name, case.image.astype(np.uint16) * 16)
        nodules = [bounds(lesion.mask) for lesion in case.lesions if lesion.name == NODULE]
        for x1, y1, x2, y2 in nodules:
            rows.append([len(rows), y2 - y1, name, 1, x2 - x1, x1, y1])
        if not nodules:
            rows.append([len(rows), 0, name, 0, 0, 0, 0])
    write_rows(folder / "metadata.csv", ",height,img_name,label,width,x,y\n", rows)


def write_metaimage(path: Path, pixels: NDArray[np.uint16]) -> None:
    """Write (H, W) pixels as one file."""
    header = (
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"DimSize = {pixels.shape[1]} {pixels.shape[0]}\nElementType = MET_USHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode("ascii") + pixels.astype("<u2").tobytes())


def write_jsrt(cases: Sequence[Case], root: Path) -> None:
    """Write raw images, clinical text, and SCR masks of lungs and heart; clavicles are not drawn."""
    images, clinical = root / "All247images", root / "Clinical_Information"
    for folder in (images, clinical):
        folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {"CLN": [], "CNN": []}
    for case in cases:
        nodule = next((lesion for lesion in case.lesions if lesion.name == NODULE), None)
        kind = "CLN" if nodule else "CNN"
        name = f"JP{kind}{len(lines[kind]) + 1:03d}"
        _write_raw(images / f"{name}.IMG", case.image)
        age, sex = "?" if case.plan.number % 6 == 5 else str(case.age), "Male" if case.sex == "M" else "Female"
        if nodule:
            x1, y1, x2, y2 = frame_box(nodule.mask, SIDE)
            size = max(x2 - x1, y2 - y1) * SPACING_MM
            place = [f"{(x1 + x2) / 2:.0f}", f"{(y1 + y2) / 2:.0f}"]
            fate = "malignant" if case.plan.number % 2 else "benign"
            lines[kind].append("\t".join([f"{name}.IMG", "3", f"{size:.0f}", age, sex, *place, fate, "lung", "nodule"]))
        else:
            lines[kind].append(f"{name}.IMG   {age}  {sex.lower()}     non-nodule")
        _write_organs(case, name, root / "scratch" / f"fold{2 - int(name[-3:]) % 2}" / "masks")
    (clinical / "CLNDAT_EN.txt").write_bytes(("\r".join(lines["CLN"]) + "\r").encode("ascii"))
    (clinical / "CNNDAT_EN.TXT").write_text("\n".join(lines["CNN"]) + "\n", encoding="ascii")


def _write_raw(path: Path, image: NDArray[np.uint8]) -> None:
    """Write 2048 x 2048 big-endian values, high = dark."""
    large = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.uint16)
    path.write_bytes((HIGHEST - large * 16).astype(">u2").tobytes())


def _write_organs(case: Case, name: str, folder: Path) -> None:
    for organ, mask in (("left lung", case.lungs[0]), ("right lung", case.lungs[1]), ("heart", case.heart)):
        (folder / organ).mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_frame(mask, _SCR_SIDE) * 255).save(folder / organ / f"{name}.gif")


WRITERS = {"node21": write_node21, "jsrt": write_jsrt}
