"""CheXmask: lung and heart masks for the images of other public sets, as row by row run lengths."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Mask, Record
from fx_monai.data.rasterise import ASPECT_TOLERANCE, aspect_difference
from fx_monai.data.readers import candid_ptx, chexpert, mimic_cxr, nih_chestxray14, padchest, vindr_cxr
from fx_monai.data.readers.files import find_optional
from fx_monai.data.readers.result import Reader, ReadResult
from fx_monai.data.readers.tables import number, size, stream_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import ConfigError, DataError, check_choice
from fx_monai.ops.masks import absolute_rle_to_coco, coco_rle_to_box
from fx_monai.types import Kind

CLASSES = ("Left Lung", "Right Lung", "Heart")
SPECS = (
    DatasetSpec(
        name="chexmask",
        title="CheXmask",
        kinds=(Kind.LOCALIZATION, Kind.SEGMENTATION),
        licence="open access, CC BY 4.0 as far as known; images on the terms of their own sets",
        url="https://physionet.org/content/chexmask-cxr-segmentation-data/",
        citation="Gaggion et al., CheXmask, Sci Data 2024, doi 10.1038/s41597-024-03358-1",
        classes=Classes(boxes=CLASSES, masks=CLASSES),
        laterality=(("Left Lung", "Right Lung"),),
    ),
)
OPTIONS = ("parent", "parent_root", "min_rca")

MIN_RCA = 0.7
_RCA = ("Dice RCA (Mean)", "Dice RCA (Max)")


@dataclass(frozen=True)
class _Parent:
    """A set whose images have masks: its reader, and its table with the column of ids."""

    reader: Reader
    table: str
    column: str

    @property
    def name(self) -> str:
        return self.reader.SPECS[0].name


_PARENTS = {
    parent.name: parent
    for parent in (
        _Parent(vindr_cxr, "VinDr-CXR", "image_id"),
        _Parent(nih_chestxray14, "ChestX-Ray8", "Image Index"),
        _Parent(chexpert, "CheXpert", "Path"),
        _Parent(mimic_cxr, "MIMIC-CXR-JPG", "dicom_id"),
        _Parent(padchest, "Padchest", "ImageID"),
        _Parent(candid_ptx, "CANDID-PTX", "ImageID"),
    )
}
_FOLDERS = ("OriginalResolution/", "*/OriginalResolution/", "*/*/OriginalResolution/", "")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the masks of one parent set in its images' own resolution.

    A network drew the masks; left and right are the patient's. Boxes are the masks' bounds. Patients, splits and images
    are the parent's. An image without a row has no record; an image whose masks are below ``min_rca`` neither.

    Options: ``parent_root`` (folder of the parent set as downloaded, absolute or relative to the root; needed, for
    CheXmask ships no images), ``parent`` (its name; default: that of the only table there), ``min_rca`` (least
    estimated Dice of the masks, the mean of the reverse classification accuracy; default 0.7, the authors' advice).
    """
    parent, path = _table(root, options.get("parent", ""))
    least = _least(options.get("min_rca", str(MIN_RCA)))
    if "parent_root" not in options:
        raise ConfigError(
            where=f"{name}, option parent_root",
            problem="the option is missing",
            expected=f"the folder of {parent.reader.SPECS[0].title} as downloaded; CheXmask ships no images",
            remedy="Give parent_root=FOLDER, absolute or relative to the root",
        )
    home = root / options["parent_root"]
    images = parent.reader.read(home, name=parent.name, options={})
    origins = dict(_origins(images))
    odd: Counter[str] = Counter()
    result = ReadResult()
    without_file = set(images.missing)
    for line, row in stream_table(path, columns=(parent.column, *_RCA, *CLASSES, "Height", "Width"))[1]:
        image_id = row[parent.column].removesuffix(".jpg" if parent.name == "candid_ptx" else "")
        # in part of the rows of PadChest the two columns are swapped; the mean is never above the maximum
        rca = min(number(row[column], path=path, row=line, column=column) for column in _RCA)
        origin = origins.get(image_id)
        if origin is None or rca < least:
            odd[_STRANGER if origin is None else _LOW] += 1
            continue
        frame = _frame(row, (origin["width"], origin["height"]), f"{path.name}, line {line}")
        if frame is None:
            odd[_SIZE] += 1
            continue
        found = _annotations(row, frame, f"{path.name}, line {line}")
        odd[_BLANK] += len(CLASSES) - len(found["masks_annotated"])
        if image_id in without_file:
            result.missing.append(image_id)
        about = {key: origin[key] for key in _SHARED}
        image_path = Path(os.path.relpath(home / origin["image_path"], root)).as_posix()
        record = Record(name, image_id, image_path, frame[0], frame[1], source_image=f"{parent.name}/{image_id}")
        result.records.append(replace(record, **about, **found))
    result.notes += [f"{name}: {count} {text.format(least=least)}" for text, count in odd.items() if count]
    return result


_SHARED = ("patient_id", "study_id", "view", "sex", "age_years", "split", "spacing_mm_x", "spacing_mm_y")
_LOW = "rows have an estimated Dice below {least:g} and were left out"
_STRANGER = "rows name an image that the parent set doesn't have; left out"
_SIZE = "rows have masks of another aspect than their image, also with the sides swapped; left out"
_BLANK = "mask cells are blank; these masks are unknown"


def _table(root: Path, wanted: str) -> tuple[_Parent, Path]:
    """Return the parent and its table.

    Raises:
        ConfigError: no such parent, or several tables and no choice among them.
        DataError: the table isn't there.
    """
    if wanted:
        check_choice(wanted, _PARENTS, where="option parent", remedy="Correct the option")
    found = {}
    for name, parent in _PARENTS.items():
        path = find_optional(root, [f"{f}{parent.table}.csv{s}" for f in _FOLDERS for s in ("", ".gz")])
        if path is not None and wanted in ("", name):
            found[name] = path
    if not found:
        files = ", ".join(p.table for name, p in _PARENTS.items() if wanted in ("", name))
        raise DataError(
            where=str(root),
            problem="there is no table of masks in the images' own resolution",
            expected=f"OriginalResolution/<set>.csv of {files}",
            remedy="Download the folder OriginalResolution; Preprocessed masks don't fit the images",
        )
    if len(found) > 1:
        raise ConfigError(
            where="option parent",
            problem=f"there are tables of {', '.join(found)}",
            expected="one of them",
            remedy="Choose with parent=NAME; each is a dataset of its own, all with the option dataset=chexmask",
        )
    name, path = found.popitem()
    return _PARENTS[name], path


def _least(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(
            where="option min_rca", problem=f"'{text}'", expected="a number from 0 to 1", remedy="Correct the option"
        )
    return value


def _origins(images: ReadResult) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield id and what is known of every image of the parent set."""
    columns = ("image_id", "image_path", "width", "height", *_SHARED)
    if images.table is not None:
        for batch in images.table.select(columns).to_batches(max_chunksize=4096):
            yield from ((row["image_id"], row) for row in batch.to_pylist())
    for record in images.records:
        yield record.image_id, {column: getattr(record, column) for column in columns}


def _frame(row: Mapping[str, str], image: tuple[int, int], where: str) -> tuple[int, int] | None:
    """Return width and height of the masks: the row's, the image's where the row is blank; None if they don't agree.

    They agree when they have the same aspect (images are often scaled copies). In part of the rows the sides are
    swapped, which shows by the aspect.
    """
    if not row["Height"] or not row["Width"]:
        return image if image != (0, 0) else None
    try:
        told = size(row["Width"]), size(row["Height"])
    except DataError as error:
        raise DataError(
            where=f"{where}, columns Height and Width",
            problem=error.problem,
            expected=error.expected,
            remedy=error.remedy,
        ) from error
    if image == (0, 0):
        return told
    frame = min(told, (told[1], told[0]), key=lambda frame: aspect_difference(frame, image))
    return frame if aspect_difference(frame, image) <= ASPECT_TOLERANCE else None


def _annotations(row: Mapping[str, str], frame: tuple[int, int], where: str) -> dict[str, Any]:
    masks, boxes, looked = [], [], []
    for index, label in enumerate(CLASSES):
        if not row[label]:
            continue
        rle = absolute_rle_to_coco(row[label], height=frame[1], width=frame[0], where=f"{where}, column {label}")
        bounds = coco_rle_to_box(rle)
        looked.append(index)
        if bounds:
            masks.append(Mask(index, "coco_rle", json.dumps(rle)))
            boxes.append(Box(*bounds, index))
    return {"masks": masks, "masks_annotated": looked, "boxes": boxes, "boxes_annotated": looked}
