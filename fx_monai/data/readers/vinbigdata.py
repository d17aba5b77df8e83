"""VinBigData Chest X-ray Abnormalities Detection (Kaggle): VinDr-CXR's training images with 14 boxed classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import read_table
from fx_monai.data.readers.vindr_cxr import NOTHING, Images, Votes, read_boxes
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

# in the order of the class ids
BOXES = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration",
    "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis",
)  # fmt: skip
LABELS = (*BOXES, NOTHING)
SPECS = (
    DatasetSpec(
        name="vinbigdata",
        title="VinBigData Chest X-ray Abnormalities Detection",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="competition rules (Kaggle)",
        url="https://www.kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection",
        citation="Nguyen et al., VinDr-CXR, Sci Data 2022, doi 10.1038/s41597-022-01498-w",
        classes=Classes(labels=LABELS, boxes=BOXES),
    ),
)
OPTIONS: tuple[str, ...] = ()


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree.

    Boxes of every reader are kept; a reader's labels are the classes of that reader's rows. The images are VinDr-CXR's
    training images under the same ids. Test images have no public labels: theirs are unknown.
    """
    path = find_file(root, ("train.csv", "*/train.csv"), what="train.csv")
    votes, boxes = read_votes(path), read_boxes(path, {label.lower(): label for label in BOXES})
    result = ReadResult()
    train = Images(root, path.parent, "train")
    for image_id, own in votes.items():
        result.records.append(train.record(name, image_id, "", own, boxes.get(image_id, []), len(BOXES)))
    train.report(name, result)
    test = Images(root, path.parent, "test")
    unlabelled = [test.record(name, image_id, "", [], [], 0) for image_id in test]
    test.report(name, result)
    if unlabelled:
        result.notes.append(f"{name}: {len(unlabelled)} test images have no public labels; their labels are unknown")
    result.records += unlabelled
    return result


def read_votes(path: Path) -> dict[str, Votes]:
    """Return image id -> the labels of every reader: 1 for the classes of the reader's rows, 0 for the others.

    Raises:
        DataError: an unknown class, or a class id that isn't the class's.
    """
    named: dict[str, dict[str, set[str]]] = {}
    for line, row in read_table(path, columns=("image_id", "class_name", "class_id", "rad_id")).rows:
        label = row["class_name"]
        if label not in LABELS or row["class_id"] != str(LABELS.index(label)):
            raise DataError(
                where=f"{path.name}, line {line}, columns class_name and class_id",
                problem=f"'{label}' with id '{row['class_id']}'",
                expected=", ".join(f"{number} {known}" for number, known in enumerate(LABELS)),
                remedy="Correct the cells",
            )
        named.setdefault(row["image_id"], {}).setdefault(row["rad_id"], set()).add(label)
    return {
        image_id: [(reader, [float(label in found) for label in LABELS]) for reader, found in readers.items()]
        for image_id, readers in named.items()
    }
