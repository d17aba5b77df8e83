"""VinDr-CXR (PhysioNet 1.0.0): labels and boxes of three readers (train) or of their consensus (test), DICOM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fx_monai.data.manifest import Box, Classes, Record
from fx_monai.data.readers.dicom_tags import frame_tags
from fx_monai.data.readers.files import files_by_name, find_file, find_optional
from fx_monai.data.readers.frame import clipped_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import label_value, number, read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

# findings with a place, which are boxed
LOCAL = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion",
)  # fmt: skip
# impressions of the whole image
GLOBAL = ("COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding")
LABELS = (*LOCAL, *GLOBAL)
NOTHING = "No finding"
SPECS = (
    DatasetSpec(
        name="vindr_cxr",
        title="VinDr-CXR",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="PhysioNet credentialed: CITI training, data use agreement",
        url="https://physionet.org/content/vindr-cxr/1.0.0/",
        citation="Nguyen et al., VinDr-CXR, Sci Data 2022, doi 10.1038/s41597-022-01498-w",
        classes=Classes(labels=LABELS, boxes=LOCAL),
    ),
)
OPTIONS: tuple[str, ...] = ()

_FOLDERS = [f"{folder}{inner}" for folder in ("", "*/", "*/*/") for inner in ("annotations/", "")]
_SPLITS = ("train", "test")
_SPELLINGS = {"Other disease": "Other diseases"}

# reader, labels
Votes = list[tuple[str, list[float]]]
# class index, reader, corners
BoxRow = tuple[int, str, list[float]]


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree: train, test, or both.

    Labels and boxes of every reader are kept; a label on which the readers disagree is unknown in ``labels``. Boxes are
    in pixels of the DICOM. The set tells no patient; each image is its own. All images are PA.
    """
    tables = {split: find_optional(root, [f"{f}image_labels_{split}.csv" for f in _FOLDERS]) for split in _SPLITS}
    if not any(tables.values()):
        raise DataError(
            where=str(root),
            problem="there is no table of labels",
            expected="annotations/image_labels_train.csv or image_labels_test.csv",
            remedy="Give the folder as it was downloaded and unpacked",
        )
    result = ReadResult()
    for split, path in tables.items():
        if path is None:
            continue
        base = path.parent.parent if path.parent.name == "annotations" else path.parent
        boxes_path = find_file(path.parent, (f"annotations_{split}.csv",), what=f"annotations_{split}.csv")
        boxes = read_boxes(boxes_path, {label.lower(): label for label in LOCAL})
        votes = read_votes(path)
        strangers = set(boxes) - set(votes)
        if strangers:
            result.notes.append(f"{name}: {len(strangers)} images of {boxes_path.name} have no labels; left out")
        images = Images(root, base, split)
        for image_id, own in votes.items():
            rows = boxes.get(image_id, [])
            result.records.append(images.record(name, image_id, split, own, rows, len(LOCAL)))
        images.report(name, result)
    return result


def read_votes(path: Path) -> dict[str, Votes]:
    """Return image id -> the labels of every reader (name "" for a consensus).

    Raises:
        DataError: a reader stands twice at an image, or a cell that is no label.
    """
    table = read_table(path, columns=("image_id",))
    columns = {_SPELLINGS.get(column, column): column for column in table.columns}
    missing = [label for label in LABELS if label not in columns]
    if missing:
        read_table(path, columns=missing)
    votes: dict[str, Votes] = {}
    for line, row in table.rows:
        where = f"{path.name}, line {line}"
        labels = [label_value(row[columns[label]], f"{where}, column {columns[label]}") for label in LABELS]
        own, reader = votes.setdefault(row["image_id"], []), row.get("rad_id", "")
        if reader in (other for other, _ in own):
            raise DataError(
                where=f"{where}, image {row['image_id']}",
                problem=f"the reader '{reader}' stands twice" if reader else "the image stands twice",
                expected="one row per image and reader",
                remedy="Remove the row",
            )
        own.append((reader, labels))
    return votes


def read_boxes(path: Path, classes: Mapping[str, str]) -> dict[str, list[BoxRow]]:
    """Return image id -> (class index, reader, corners) of every box; rows without a finding have none.

    Args:
        path: table with ``image_id``, ``class_name``, ``x_min``, ``y_min``, ``x_max``, ``y_max`` and maybe ``rad_id``.
        classes: name in small letters -> name, in the order of the indices.

    Raises:
        DataError: an unknown class, or a coordinate that is no number.
    """
    order = list(classes)
    boxes: dict[str, list[BoxRow]] = {}
    corners = ("x_min", "y_min", "x_max", "y_max")
    for line, row in read_table(path, columns=("image_id", "class_name", *corners)).rows:
        label = row["class_name"].lower()
        if label == NOTHING.lower():
            continue
        if label not in classes:
            raise DataError(
                where=f"{path.name}, line {line}, column class_name",
                problem=f"unknown class '{row['class_name']}'",
                expected=", ".join((*classes.values(), NOTHING)),
                remedy="Correct the cell",
            )
        values = [number(row[key], path=path, row=line, column=key) for key in corners]
        boxes.setdefault(row["image_id"], []).append((order.index(label), row.get("rad_id", ""), values))
    return boxes


@dataclass
class Images:
    """The DICOM files of a split, and what was odd about them."""

    root: Path
    base: Path
    split: str
    missing: list[str] = field(default_factory=list)
    unreadable: int = 0
    clipped: int = 0
    empty: int = 0

    def __post_init__(self) -> None:
        """List the folder once."""
        folder = self.base / self.split
        files = files_by_name(folder, (), (".dicom", ".dcm")) if folder.is_dir() else {}
        self._files = {path.stem: path for path in files.values()}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the files."""
        return iter(self._files)

    def record(
        self, name: str, image_id: str, split: str, votes: Votes, boxes: Sequence[BoxRow], box_classes: int
    ) -> Record:
        """Return an image with its readers' labels and boxes.

        A box beyond the image is clipped. Where nothing of it is left, its class is unknown in the image.
        """
        path = self._files.get(image_id)
        about = self._about(image_id, path)
        frame = (about["width"], about["height"])
        kept: list[Box] = []
        doubtful = set()
        for class_index, reader, corners in boxes:
            box, changed = clipped_box(corners, class_index, frame, reader=reader)
            self.clipped += changed and box is not None
            self.empty += box is None
            kept += [box] if box else []
            doubtful |= set() if box else {class_index}
        expected = self.base / self.split / f"{image_id}.dicom"
        return Record(
            dataset=name,
            image_id=image_id,
            image_path=str((path or expected).relative_to(self.root)),
            patient_id=f"vindr_cxr:{image_id}",
            source_image=f"vindr_cxr/{image_id}",
            split=split,
            labels=agreed([labels for _, labels in votes]),
            reader_labels=[(reader, labels) for reader, labels in votes if reader],
            boxes=kept,
            boxes_annotated=[index for index in range(box_classes) if votes and index not in doubtful],
            **{**about, "view": "PA"},
        )

    def report(self, name: str, result: ReadResult) -> None:
        """Add what was odd to a reader's result."""
        result.missing += self.missing
        for count, text in (
            (self.unreadable, "DICOM files have no readable header; their boxes are unchecked"),
            (self.clipped, "boxes reach beyond their image and were clipped"),
            (self.empty, "boxes have no area inside their image and were left out; their class is unknown there"),
        ):
            if count:
                result.notes.append(f"{name}: {count} {text} ({self.split})")

    def _about(self, image_id: str, path: Path | None) -> dict[str, Any]:
        if path is None:
            self.missing.append(image_id)
            return {"width": 0, "height": 0}
        try:
            return frame_tags(path)
        except DataError:
            self.unreadable += 1
            return {"width": 0, "height": 0}


def agreed(votes: Sequence[Sequence[float]]) -> list[float]:
    """Return the labels on which all readers agree, NaN for the others."""
    return [values[0] if len(set(values)) == 1 else math.nan for values in zip(*votes, strict=True)]
