"""NLM Shenzhen: PNG, readings as text; third-party lung masks and the newer site's lesion masks where they exist."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import find_file, find_optional
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, read_table, sex
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

TUBERCULOSIS = "Tuberculosis"
LUNGS = "lungs"

SPECS = (
    DatasetSpec(
        name="shenzhen",
        title="NLM Shenzhen Hospital",
        kinds=(Kind.CLASSIFICATION, Kind.SEGMENTATION),
        licence="public, cite two papers; third-party lung masks CC BY-NC-SA",
        url="https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html",
        citation="Jaeger et al., Quant Imaging Med Surg 2014; masks: Stirenko et al., ELNANO 2018",
        classes=Classes(labels=(TUBERCULOSIS,), masks=(LUNGS,)),
    ),
)

OPTIONS: tuple[str, ...] = ()

_LUNG_FOLDERS = ("mask/mask", "mask", "masks", "*/mask/mask", "*/mask", "*/masks")
_LESION_FOLDERS = ("Annotations-2/masks", "*/Annotations-2/masks")
_STATISTICS = tuple(
    f"{base}Annotations{number}/Statistics_ShenzhenDataset*.csv" for base in ("", "*/") for number in ("-2", "")
)


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree; the last digit of a file name tells tuberculosis (1) from normal (0).

    The 19 findings of the newer site's table become labels; they were noted for tuberculosis only, and are unknown in
    the other images. A lung mask that isn't there is unknown, not empty (96 images have none). A kind of lesion was
    looked for in an image that has lesion masks, unless the table says it is present and no mask shows it.
    """
    first = find_file(root, ("CXR_png/*.png", "*/CXR_png/*.png", "*/*/CXR_png/*.png"), what="folder CXR_png")
    findings, table = _findings(root)
    lungs, lesions = _lung_masks(root), _lesion_masks(root)
    kinds = sorted({kind for found in lesions.values() for kind, _ in found})
    result = ReadResult([], classes=Classes(labels=(TUBERCULOSIS, *findings), masks=(LUNGS, *kinds)))
    for path in sorted(first.parent.glob("[!.]*.png")):
        match = re.fullmatch(r"CHNCXR_(\d+)_([01])", path.stem)
        if match is None:
            raise DataError(
                where=f"CXR_png/{path.name}",
                problem="the name tells no label",
                expected="CHNCXR_<number>_<0 or 1>.png",
                remedy="Remove or rename the file",
            )
        width, height = size_or_unknown(path)
        about = read_about(first.parents[1] / "ClinicalReadings" / f"{path.stem}.txt")
        noted = table.get(path.stem, {})
        found = lesions.get(path.stem, [])
        unmasked = {kind for kind in kinds if noted.get(kind) == 1 and kind not in dict(found)}
        masks = [Mask(0, "file", _relative(lungs[path.stem], root))] if path.stem in lungs else []
        masks += [Mask(1 + kinds.index(kind), "file", _relative(file, root)) for kind, file in found]
        looked_for = [0] if path.stem in lungs else []
        looked_for += [1 + i for i, kind in enumerate(kinds) if found and kind not in unmasked]
        result.records.append(
            Record(
                dataset=name,
                image_id=path.stem,
                image_path=_relative(path, root),
                width=width,
                height=height,
                patient_id=f"shenzhen:{int(match[1])}",
                source_image=f"shenzhen/{path.stem}",
                sex=about[0],
                age_years=about[1],
                labels=[float(match[2]), *(noted.get(finding, math.nan) for finding in findings)],
                masks=masks,
                masks_annotated=looked_for,
            )
        )
    return result


def read_about(path: Path) -> tuple[str, float]:
    """Return sex and age in years from a reading such as ``male 45yrs`` or ``Female , 7 months``, "" and NaN without.

    The rest of the text is free and isn't read.
    """
    if not path.is_file():
        return "", math.nan
    text = path.read_text(encoding="utf-8", errors="replace").lower()
    match = re.match(r"\W*(male|female)\b\W*(?:(\d+)\s*([ymwd]?))?", text)
    return (sex(match[1]), age_years((match[2] or "") + (match[3] or ""))) if match else ("", math.nan)


def _findings(root: Path) -> tuple[tuple[str, ...], dict[str, dict[str, float]]]:
    """Return the names of the findings and image -> finding -> 0 or 1; nothing when the table isn't there."""
    path = find_optional(root, _STATISTICS)
    if path is None:
        return (), {}
    table = read_table(path, columns=("imagename",))
    names = tuple(column for column in table.columns if column and column != "imagename")
    rows: dict[str, dict[str, float]] = {}
    for line, row in table.rows:
        bad = [column for column in names if row[column] not in ("0", "1", "0.0", "1.0", "")]
        if bad:
            raise DataError(
                where=f"{path.name}, line {line}, column {bad[0]}",
                problem=f"'{row[bad[0]]}'",
                expected="1 (present), 0 (absent) or blank",
                remedy="Correct the cell",
            )
        noted = {column: float(row[column]) for column in names if row[column]}
        rows[row["imagename"].removesuffix(".png")] = noted
    return names, rows


def _lung_masks(root: Path) -> dict[str, Path]:
    folders = [folder for pattern in _LUNG_FOLDERS for folder in sorted(root.glob(pattern))]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!.]*_mask.png")):
            found.setdefault(path.stem.removesuffix("_mask"), path)
    return found


def _lesion_masks(root: Path) -> dict[str, list[tuple[str, Path]]]:
    """Return image -> (finding, file) of ``CHNCXR_0330_1_Pleural_Effusion_2.png``; several files may show a finding."""
    found = defaultdict(list)
    for folder in (folder for pattern in _LESION_FOLDERS for folder in sorted(root.glob(pattern))):
        for path in sorted(folder.glob("[!.]*.png")):
            match = re.fullmatch(r"(CHNCXR_\d+_[01])_(.+)_\d+", path.stem)
            if match:
                found[match[1]].append((match[2], path))
    return found


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
