"""CheXpert: train.csv, valid.csv, test_labels.csv and JPEGs, as AIMI's batches, in one folder, or as CheXlocalize."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fx_monai.data.manifest import Classes
from fx_monai.data.readers.column_table import ColumnTable, label_columns
from fx_monai.data.readers.files import files_there, find_optional, sizes_of
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, choice, sex, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.data.table import build_table
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
SPECS = (
    DatasetSpec(
        name="chexpert",
        title="CheXpert",
        kinds=(Kind.CLASSIFICATION,),
        licence="Stanford AIMI research use agreement, not commercial",
        url="https://aimi.stanford.edu/datasets/chexpert-chest-x-rays",
        citation="Irvin et al., CheXpert, AAAI 2019",
        classes=Classes(labels=LABELS),
    ),
)
OPTIONS = ("labeler",)

_TRAIN_TABLES = {
    "chexpert": "train.csv",
    "chexbert": "train_cheXbert.csv",
    "visualchexbert": "train_visualCheXbert.csv",
}
_PATH = r"(?:^|/)(?P<part>train|valid|val|test)/(?P<patient>patient\d+)/(?P<study>study\d+)/(?P<file>[^/]+)$"
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
_FOLDERS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree: whichever of the three tables are there.

    Labels are a study's; each of its images has them, laterals too. The files' own size is the annotation frame. Age 0
    is unknown. A frontal image whose AP/PA cell says a lateral view has an unknown view.

    Option: ``labeler`` of the training table: ``chexpert`` (the default), ``chexbert`` or ``visualchexbert``.
    """
    train = _TRAIN_TABLES[choice(options, "labeler", tuple(_TRAIN_TABLES))]
    wanted = ((train,), ("valid.csv", "val_labels.csv"), ("test_labels.csv", "test.csv"))
    found = [find_optional(root, [folder + file for folder in ("", "*/") for file in files]) for files in wanted]
    paths = [path for path in found if path is not None]
    if not paths:
        raise DataError(
            where=str(root),
            problem="there is no table of labels",
            expected=f"{train}, valid.csv or test_labels.csv in the folder or one below",
            remedy="Give the folder as it was downloaded and unpacked",
        )
    result = ReadResult()
    result.table = pa.concat_tables([_read_table(path, root, name, result) for path in paths])
    return result


def _read_table(path: Path, root: Path, name: str, result: ReadResult) -> pa.Table:
    table = ColumnTable(path, columns=("Path", *LABELS), optional=("Sex", "Age", "Frontal/Lateral", "AP/PA"))
    parts = pc.extract_regex(table.text("Path"), _PATH)
    if parts.null_count:
        row = int(np.flatnonzero(np.asarray(parts.is_null()))[0])
        raise DataError(
            where=f"{table.where(row)}, column Path",
            problem="the cell doesn't name an image of CheXpert",
            expected="<train, valid or test>/patient<number>/study<number>/<file>",
            remedy="Correct the cell",
        )
    part, patient, study, file = (parts.field(key) for key in ("part", "patient", "study", "file"))
    split = _mapped(part, _SPLITS)
    below = pc.binary_join_element_wise(patient, study, file, "/")
    paths = pc.binary_join_element_wise(homes(root, split, patient), below, "/")
    there = files_there(root, paths)
    # CheXlocalize and the tables say val and valid of the same images; so the id says valid
    folder = _mapped(split, {key: names[0] for key, names in _FOLDERS.items()})
    ids = pc.binary_join_element_wise(folder, below, "/")
    result.missing += ids.filter(pa.array(~there)).to_pylist()
    sizes = sizes_of(root, paths, there)
    columns = {
        "image_id": ids,
        "image_path": paths,
        "source_image": pc.binary_join_element_wise("chexpert", ids, "/"),
        "patient_id": pc.binary_join_element_wise("chexpert", patient, ":"),
        "study_id": pc.binary_join_element_wise(patient, study, "/"),
        "view": _views(table, file, name, result.notes),
        "sex": table.mapped("Sex", sex),
        "age_years": table.mapped("Age", _age),
        "split": split,
        "width": sizes[:, 0],
        "height": sizes[:, 1],
    }
    return build_table(name, columns, label_columns(table, LABELS))


def homes(root: Path, split: pa.Array, patient: pa.Array) -> pa.Array:
    """Return the folder, relative to the root, in which each patient's folder is, or would be.

    Args:
        root: of the tree.
        split: ``train``, ``val`` or ``test`` of every row.
        patient: ``patient00001`` and so on.
    """
    keys = pc.binary_join_element_wise(split, patient, "/").dictionary_encode()
    found: dict[str, str] = {}
    for part in set(split.unique().to_pylist()):
        for home in _homes_of(root, part):
            for entry in os.scandir(home):
                found.setdefault(f"{part}/{entry.name}", home.relative_to(root).as_posix())
    folders = [found.get(key, _FOLDERS[key.split("/")[0]][0]) for key in keys.dictionary.to_pylist()]
    return pa.array(folders, pa.string()).take(keys.indices)


def _homes_of(root: Path, part: str) -> list[Path]:
    """Return the folders that may hold patients of a part; AIMI's training batches hold them directly."""
    folders = [root, *_subfolders(root)]
    batches = [folder for folder in folders if re.search(r"batch \d", folder.name)]
    # an unpacker may have put the batch into a folder of the archive's name
    batches += [inner for folder in batches for inner in _subfolders(folder) if re.search(r"batch \d", inner.name)]
    homes = [folder / name for folder in (*folders, *batches) for name in _FOLDERS[part]]
    return [home for home in (*homes, *(batches if part == "train" else ())) if home.is_dir()]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(Path(e.path) for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("patient"))


def _views(table: ColumnTable, file: pa.Array, name: str, notes: list[str]) -> NDArray[np.str_]:
    told = table.mapped("AP/PA", view).astype("U7")
    lateral = np.asarray(pc.match_substring(file, "lateral"))
    lateral |= table.mapped("Frontal/Lateral", str.lower) == "lateral"
    doubtful = ~lateral & (told == "LATERAL")
    if doubtful.any():
        notes.append(f"{name}: {int(doubtful.sum())} frontal images of {table.path.name} have a lateral AP/PA")
    return np.where(lateral, "LATERAL", np.where(doubtful, "", told))


def _mapped(values: pa.Array, meaning: Mapping[str, str]) -> pa.Array:
    codes = values.dictionary_encode()
    return pa.array([meaning[value] for value in codes.dictionary.to_pylist()], pa.string()).take(codes.indices)


def _age(cell: str) -> float:
    return age_years(cell) or float("nan")
