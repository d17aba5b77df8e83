"""covid-chestxray-dataset (ieee8023): metadata.csv, whose columns and finding names changed over time, and images."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, read_table, sex, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

SPECS = (
    DatasetSpec(
        name="covid_chestxray",
        title="covid-chestxray-dataset",
        kinds=(Kind.CLASSIFICATION,),
        licence="each image its own",
        url="https://github.com/ieee8023/covid-chestxray-dataset",
        citation="Cohen et al., COVID-19 Image Data Collection: Prospective Predictions Are the Future, MELBA 2020",
    ),
)

OPTIONS: tuple[str, ...] = ()

NO_FINDING = "No Finding"
# what is so while the image is taken; the other yes-no columns tell what became of the patient
STATES = ("intubation_present", "in_icu")
_UNKNOWN = ("", "todo", "unknown")
_ANSWERS = {"y": 1.0, "n": 0.0, "": math.nan}


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the table; CT images and volumes are left out.

    An image has one finding, a path such as ``Pneumonia/Viral/COVID-19``: its parts are present, and No Finding is
    absent; every other finding is unknown. No Finding makes all findings absent. ``todo`` and ``Unknown`` are unknown.
    """
    path = find_file(root, ("metadata.csv", "*/metadata.csv"), what="metadata.csv")
    table = read_table(path)
    rows = [(line, {column.lower(): cell for column, cell in row.items()}) for line, row in table.rows]
    needed = {"patientid", "finding", "view", "modality", "filename"} - {column.lower() for column in table.columns}
    if needed:
        raise DataError(
            where=path.name,
            problem=f"the columns {', '.join(sorted(needed))} are missing",
            expected="the table as distributed",
            remedy="Download the file again or correct the header",
        )
    kept = [(line, row) for line, row in rows if _is_radiograph(row)]
    findings = sorted({part for _, row in kept for part in parse_finding(row["finding"])} | {NO_FINDING})
    states = [state for state in STATES if any(state in row for _, row in kept)]
    result = ReadResult([], classes=Classes(labels=(*findings, *states)))
    seen: set[str] = set()
    for line, row in kept:
        image_id = row["filename"]
        if image_id in seen:
            continue
        seen.add(image_id)
        file = path.parent / (row.get("folder") or "images") / image_id
        if not file.is_file():
            result.missing.append(image_id)
        width, height = size_or_unknown(file)
        answers = [_answer(row[state], f"{path.name}, line {line}, column {state}") for state in states]
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=file.relative_to(root).as_posix(),
                width=width,
                height=height,
                patient_id=f"covidcxr:{row['patientid']}",
                source_image=f"covid_chestxray/{Path(image_id).stem}",
                view=view(row["view"]),
                sex=sex(row.get("sex", "")),
                age_years=age_years(row.get("age", "")),
                labels=[*_labels(parse_finding(row["finding"]), findings), *answers],
            )
        )
    for count, what in ((len(rows) - len(kept), "rows are no radiographs"), (len(kept) - len(seen), "rows repeat one")):
        if count:
            result.notes.append(f"{name}: {count} {what}; left out")
    return result


def parse_finding(text: str) -> tuple[str, ...]:
    """Return the parts of a finding, none when it is unknown; older versions join several findings by commas."""
    parts = (part.strip() for part in re.split(r"[/,]", text))
    return tuple(part for part in parts if part.lower() not in _UNKNOWN)


def _is_radiograph(row: Mapping[str, str]) -> bool:
    volume = row["filename"].lower().endswith((".nii", ".nii.gz")) or not row["filename"]
    return row["modality"].lower() == "x-ray" and row["view"].lower() not in ("axial", "coronal") and not volume


def _labels(parts: tuple[str, ...], findings: list[str]) -> list[float]:
    if not parts:
        return [math.nan] * len(findings)
    if NO_FINDING in parts:
        return [float(finding == NO_FINDING) for finding in findings]
    known = {NO_FINDING: 0.0, **dict.fromkeys(parts, 1.0)}
    return [known.get(finding, math.nan) for finding in findings]


def _answer(text: str, where: str) -> float:
    if text.lower() not in _ANSWERS:
        raise DataError(where=where, problem=f"'{text}'", expected="Y, N or blank", remedy="Correct the cell")
    return _ANSWERS[text.lower()]
