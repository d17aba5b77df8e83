"""Copies among real radiographs: RSNA's images are found in NIH by their pixels alone, and nothing else is."""

import cv2
import numpy as np
import pytest

from fx_monai.apps.audit import run_audit
from fx_monai.data.index import index_dataset
from fx_monai.data.manifest import Classes, Manifest, Record
from fx_monai.data.pixels import read_pixels

pytestmark = pytest.mark.real


def copies(files, folder, change):
    """Write changed copies as JPEG and return their manifest, which tells nothing about where they come from."""
    folder.mkdir()
    records = []
    for number, path in enumerate(files):
        image = change(read_pixels(path), number)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 70])
        records.append(Record("copies", f"{number:03d}", f"{number:03d}.jpg", image.shape[1], image.shape[0]))
    return Manifest.from_records(records, dataset="copies", classes=Classes(), root=folder)


def smaller_and_cropped(image, number):
    """Cut 5 % of width and height off, at a place that depends on the number, and make it 0.6 times as large."""
    height, width = image.shape
    left, top = (number * 7 % 11) / 10 * 0.05, (number * 3 % 11) / 10 * 0.05
    cut = image[round(top * height) : round((0.95 + top) * height), round(left * width) : round((0.95 + left) * width)]
    return cv2.resize(cut, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def test_rsna_is_found_in_nih_without_its_map(real_data, tmp_path):
    nih = index_dataset("nih_chestxray14", real_data / "nih_cxr14")
    rsna = index_dataset("rsna_pneumonia", real_data / "nih_cxr14")
    files = [rsna.root / record.image_path for record in rsna]
    found = run_audit(
        [nih, copies(files, tmp_path / "copies", smaller_and_cropped)], cache=tmp_path / "cache", progress=False
    )
    between = found.pairs.second >= len(nih)
    row_of = {(nih.root / path).resolve().name: row for row, path in enumerate(nih.column("image_path"))}
    expected = {(row_of[path.resolve().name], len(nih) + number) for number, path in enumerate(files)}
    pairs = set(zip(found.pairs.first[between].tolist(), found.pairs.second[between].tolist(), strict=True))
    patients = np.array(nih.column("patient_id"))
    assert len(expected) == 125
    assert expected <= pairs
    # what is found besides is another image of the same patient
    origin = {copy: row for row, copy in expected}
    assert all(patients[row] == patients[origin[copy]] for row, copy in pairs - expected)


def test_originals_are_found_in_their_smaller_copies(real_data, tmp_path):
    nih = index_dataset("nih_chestxray14", real_data / "nih_cxr14")
    originals = sorted((real_data / "nih_cxr14" / "originals_1024").glob("*.png"))
    records = [Record("originals", path.name, path.name, 1024, 1024) for path in originals]
    large = Manifest.from_records(
        records, dataset="originals", classes=Classes(), root=real_data / "nih_cxr14" / "originals_1024"
    )
    found = run_audit([nih, large], cache=tmp_path, progress=False).pairs
    row_of = {name: row for row, name in enumerate(nih.column("image_id"))}
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert {(row_of[path.name], len(nih) + number) for number, path in enumerate(originals)} <= pairs
