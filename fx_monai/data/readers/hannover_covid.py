"""Hannover COVID-19 Image Repository: data.csv with days relative to the image, PNG by image id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fx_monai.data.manifest import Classes, Record
from fx_monai.data.pixels import size_or_unknown
from fx_monai.data.readers.files import files_by_name, find_file
from fx_monai.data.readers.result import ReadResult
from fx_monai.data.readers.tables import age_years, read_table, sex, view
from fx_monai.data.spec import DatasetSpec
from fx_monai.errors import DataError
from fx_monai.types import Kind

LABELS = ("COVID-19", "Intensive care")

SPECS = (
    DatasetSpec(
        name="hannover_covid",
        title="Hannover COVID-19 Image Repository",
        kinds=(Kind.CLASSIFICATION,),
        licence="CC BY 3.0",
        url="https://github.com/ml-workgroup/covid-19-image-repository",
        citation="Winther et al., COVID-19 Image Repository, doi 10.6084/m9.figshare.12275009",
        classes=Classes(labels=LABELS),
    ),
)

OPTIONS: tuple[str, ...] = ()

_BEGIN, _END = "icu_admission_offset", "icu_release_offset"


def read(root: Path, *, name: str, options: Mapping[str, str]) -> ReadResult:
    """Read the table: every patient has COVID-19; intensive care is known where its first and last day are.

    The images also stand in covid-chestxray-dataset, under the same file names.
    """
    path = find_file(root, ("data.csv", "*/data.csv"), what="data.csv")
    found = files_by_name(root, ("png", "*/png"), (".png", ".jpg", ".jpeg"))
    files = {file.stem: file for file in found.values()}
    result = ReadResult([])
    for line, row in read_table(path, columns=("patient_id", "image_id", "projection", _BEGIN, _END)).rows:
        image_id = row["image_id"]
        file = files.get(image_id, path.parent / "png" / f"{image_id}.png")
        if image_id not in files:
            result.missing.append(image_id)
        width, height = size_or_unknown(file)
        result.records.append(
            Record(
                dataset=name,
                image_id=image_id,
                image_path=file.relative_to(root).as_posix(),
                width=width,
                height=height,
                patient_id=f"hannover:{row['patient_id']}",
                source_image=f"covid_chestxray/{image_id}",
                view=view(row["projection"]),
                sex=sex(row.get("sex", "")),
                age_years=age_years(row.get("age", "")),
                labels=[1.0, intensive_care(row[_BEGIN], row[_END], where=f"{path.name}, line {line}")],
            )
        )
    return result


def intensive_care(begin: str, end: str, *, where: str) -> float:
    """Return whether the image was taken during intensive care, NaN when a day is blank.

    Args:
        begin: day of admission, counted from the image's; may be ``-inf``.
        end: day of release; may be ``inf``.
        where: file and line, for the message.

    Raises:
        DataError: not a number.
    """
    if not begin or not end:
        return math.nan
    try:
        return float(float(begin) <= 0 <= float(end))
    except ValueError:
        raise DataError(
            where=f"{where}, column {_BEGIN} or {_END}",
            problem=f"'{begin}' and '{end}'",
            expected="days, inf, -inf or blank",
            remedy="Correct the cell",
        ) from None
