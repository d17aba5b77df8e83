"""NLM Montgomery: PNG, left and right lung masks (patient's side), clinical readings as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Mask, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, sex
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="montgomery",
        title="NLM Montgomery County",
        kinds=(Kind.CLASSIFICATION, Kind.SEGMENTATION),
        licence="public, cite two papers",
        url="https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html",
        citation="Jaeger et al., Quant Imaging Med Surg 2014; Candemir et al., IEEE TMI 2014",
        classes=Classes(labels=("Tuberculosis",), masks=("left lung", "right lung")),
        laterality=(("left lung", "right lung"),),
    ),
)

OPTIONS: tuple[str, ...] = ()

SPACING_MM = 0.0875
SCAN_SIDES = {4020, 4892}
_FOLDERS = ("leftMask", "rightMask")


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the tree; the last digit of a file name tells tuberculosis (1) from normal (0)."""
    first = find_file(root, ("CXR_png/*.png", "*/CXR_png/*.png", "*/*/CXR_png/*.png"), what="folder CXR_png")
    base = first.parents[1]
    result = ReadResult([])
    for path in sorted(first.parent.glob("[!.]*.png")):
        match = re.fullmatch(r"MCUCXR_(\d+)_([01])", path.stem)
        if match is None:
            raise DataError(
                where=f"CXR_png/{path.name}",
                problem="the name tells no label",
                expected="MCUCXR_<number>_<0 or 1>.png",
                remedy="Remove or rename the file",
            )
        masks = [base / "ManualMask" / folder / path.name for folder in _FOLDERS]
        missing = [mask for mask in masks if not mask.is_file()]
        result.incomplete += [str(mask.relative_to(base)) for mask in missing]
        width, height = size_or_unknown(path)
        spacing = SPACING_MM if {width, height} <= SCAN_SIDES else float("nan")
        about = _readings(base / "ClinicalReadings" / f"{path.stem}.txt")
        result.records.append(
            Record(
                dataset=name,
                image_id=path.stem,
                image_path=str(path.relative_to(root)),
                width=width,
                height=height,
                patient_id=f"montgomery:{int(match[1])}",
                source_image=f"montgomery/{path.stem}",
                view="PA",
                sex=sex(about.get("sex", "")),
                age_years=age_years(about.get("age", "")),
                spacing_mm_x=spacing,
                spacing_mm_y=spacing,
                labels=[float(match[2])],
                masks=[Mask(i, "file", str(m.relative_to(root))) for i, m in enumerate(masks) if m.is_file()],
                masks_annotated=[i for i, m in enumerate(masks) if m.is_file()],
            )
        )
    return result


def _readings(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    return {key.lower(): value for key, value in re.findall(r"Patient's (Sex|Age):\s*(\S+)", text)}
