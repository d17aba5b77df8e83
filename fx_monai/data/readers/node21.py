"""NODE21: MHA images (processed or original) and metadata.csv with one row per nodule, a row of zeros without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.pixels import is_dicom, is_image_name, size_or_unknown
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.frame import frame_box
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import number, read_table
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import ConfigError, DataError
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="node21",
        title="NODE21",
        kinds=(Kind.CLASSIFICATION, Kind.LOCALIZATION),
        licence="see the record; sources NIH, PadChest, JSRT, Open-I each their own",
        url="https://zenodo.org/record/4725881",
        citation="Sogancioglu et al., Nodule detection and generation on chest X-rays: NODE21 Challenge, IEEE TMI 2024",
        classes=Classes(labels=("Nodule",), boxes=("Nodule",)),
    ),
)

OPTIONS = ("release",)

# spelt as distributed
_FOLDERS = {
    "processed": ("proccessed_data/", "processed_data/"),
    "original": ("original_data/",),
    "": ("proccessed_data/", "processed_data/", "original_data/", ""),
}
_ABOVE = ("", "cxr_images/", "*/", "*/cxr_images/")
# original name -> source image and patient; PadChest tells the patient in its own table
_ORIGINS = (
    (r"(\d{8})_\d{3}", "nih_chestxray14/{}.png", "nih"),
    (r"(JPC[LN]N\d{3})", "jsrt/{}", "jsrt"),
    (r"CXR(\d+)_.+", "openi/{}", "openi"),
    (r"\d{30,}.*", "padchest/{}.png", ""),
)


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree. Nodules were looked for in every image, other findings in none.

    Boxes are in the pixels of the images beside the table; the processed and the original release differ in both.
    Any other table beside it that names the original of an image (NIH, JSRT, Open-I, PadChest file names) gives source
    and patient.

    Options: ``release`` (``processed`` or ``original``; default: the one that is there, processed first).
    """
    release = options.get("release", "")
    if release not in _FOLDERS:
        raise ConfigError(
            where=f"{name}, option release",
            problem=f"'{release}'",
            expected="processed or original",
            remedy="Correct the option",
        )
    names = [f"{above}{folder}metadata.csv" for folder in _FOLDERS[release] for above in _ABOVE]
    path = find_file(root, names, what="metadata.csv")
    boxes = read_boxes(path)
    folder = path.parent / "images"
    files = {file.stem: file for file in sorted(folder.glob("[!.]*")) if is_image_name(file) or is_dicom(file)}
    origins = read_origins(path)
    result = ReadResult([])
    for image_id, rows in boxes.items():
        file = files.get(image_id, folder / f"{image_id}.mha")
        if image_id not in files:
            result.missing.append(image_id)
        frame = size_or_unknown(file)
        found = [frame_box(corners, 0, frame, where=where) for where, corners in rows]
        source, patient = origins.get(image_id, ("", ""))
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=file.relative_to(root).as_posix(),
                width=frame[0],
                height=frame[1],
                patient_id=patient or f"{name}:image:{image_id}",
                source_image=source,
                labels=[float(bool(found))],
                boxes=found,
                boxes_annotated=[0],
            )
        )
    strangers = len(boxes.keys() - origins.keys())
    if strangers:
        result.notes.append(f"{name}: {strangers} images tell no original; each counts as a patient of its own")
    return result


Corners = tuple[float, float, float, float]


def read_boxes(path: Path) -> dict[str, list[tuple[str, Corners]]]:
    """Return image (without suffix) -> file and line, x1, y1, x2, y2 of every nodule; an empty list without nodules.

    Raises:
        DataError: a label other than 0 and 1, a box beside label 0, or label 0 beside a nodule of the same image.
    """
    found: dict[str, list[tuple[str, Corners]]] = {}
    without = set()
    for line, row in read_table(path, columns=("img_name", "label", "x", "y", "width", "height")).rows:
        where = f"{path.name}, line {line}"
        x, y, w, h = (number(row[key], path=path, row=line, column=key) for key in ("x", "y", "width", "height"))
        image_id = re.sub(r"\.\w+$", "", row["img_name"])
        nodules = found.setdefault(image_id, [])
        if row["label"] in ("1", "1.0"):
            nodules.append((where, (x, y, x + w, y + h)))
        else:
            without.add(image_id)
        blank = row["label"] in ("0", "0.0") and w == h == 0
        if (row["label"] not in ("1", "1.0") and not blank) or (nodules and image_id in without):
            raise DataError(
                where=f"{where}, column label",
                problem=f"'{row['label']}' with a box of {w:g} x {h:g}",
                expected="1 with a box per nodule, or 0 with zeros once for an image without nodules",
                remedy="Correct the row",
            )
    return found


def read_origins(metadata: Path) -> dict[str, tuple[str, str]]:
    """Return image -> source image and patient ("" = unknown) from the tables beside and above ``metadata.csv``."""
    found: dict[str, tuple[str, str]] = {}
    for folder in (metadata.parent, metadata.parent.parent):
        for path in sorted((*folder.glob("*.csv"), *folder.glob("*.txt"))):
            if path.name != metadata.name:
                for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    found.update(_origin_of(text))
    return found


def _origin_of(line: str) -> dict[str, tuple[str, str]]:
    """Return the one image of a line that names a NODE21 image and its original."""
    names = [
        re.sub(r"\.(?:mha|png|dcm|img)$", "", cell, flags=re.I) for cell in re.split(r"[\s,;]+|/", line.strip('"'))
    ]
    own = next((cell for cell in names if re.fullmatch(r"[cn]\d{4}", cell)), None)
    for pattern, source, namespace in _ORIGINS if own else ():
        for cell in names:
            match = re.fullmatch(pattern, cell, re.IGNORECASE)
            if match and own:
                patient = match[1] if match.lastindex else ""
                patient = str(int(patient)) if patient.isdigit() else patient.upper()
                return {own: (source.format(cell), f"{namespace}:{patient}" if namespace else "")}
    return {}
