"""How often the pixel part of the gate refuses real frontal chests, and accepts what is none.

    python tests/benchmarks/gate.py ../shared/data/cxr

Thresholds were chosen on the NIH thumbnails; the other sets were not looked at for that. Other DICOM files are those
that pydicom brings (CT, MR, ultrasound, test patterns); photographs those that scikit-image brings.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import skimage.data
from numpy.typing import NDArray

from fx_monai.data.gate.pixels import judge_pixels
from fx_monai.data.pixels import Pixels, is_image_name, read_pixels
from fx_monai.demo.cases import PREVALENCE, CasePlan, make_case
from fx_monai.errors import DataError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    chests = dict(real_chests(folder))
    real = [image for name, images in chests.items() if "synthetic" not in name for image in images]
    rows = {
        **chests,
        "phantoms": phantoms(),
        "real, inverted": [np.iinfo(image.dtype).max - image for image in real],
        "real, upside down": [image[::-1, ::-1] for image in real],
        "real, on its side": [np.rot90(image) for image in real],
        "tibia": [read_pixels(folder / "dicom" / "negative_extremity_RG3_J2KI.dcm")],
        "noise like clouds": clouds(200),
        "photographs": list(readable(Path(skimage.data.__file__).parent)),
        "other DICOM": list(readable(Path(pydicom.__file__).parent / "data", least=64)),
    }
    print(f"{'':24}{'images':>8}{'accepted':>10}{'uncertain':>11}{'refused':>9}")
    for name, images in rows.items():
        found = Counter(judge_pixels(image).verdict.value for image in images)
        print(f"{name:24}{len(images):8}{found['accepted']:10}{found['uncertain']:11}{found['refused']:9}")


def real_chests(folder: Path) -> Iterator[tuple[str, list[Pixels]]]:
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "negative" not in row["path"]]
    for source in dict.fromkeys(row["source"] for row in rows):
        yield source, [read_pixels(folder / row["path"]) for row in rows if row["source"] == source]


def phantoms() -> list[NDArray[np.uint8]]:
    return [make_case(CasePlan(name, i, i, 0), 256).image for name in PREVALENCE for i in range(10)]


def clouds(count: int) -> list[NDArray[np.uint8]]:
    """Noise whose power falls with frequency as in photographs and landscapes, from hardly to steeply."""
    generator, frequency = np.random.default_rng(0), np.fft.fftfreq(128)
    radius = np.hypot(*np.meshgrid(frequency, frequency)) + 1e-3
    found = []
    for _ in range(count):
        spectrum = np.fft.fft2(generator.normal(size=(128, 128))) / radius ** generator.uniform(0.5, 2.2)
        values = np.real(np.fft.ifft2(spectrum))
        found.append(((values - values.min()) / np.ptp(values) * 255).astype(np.uint8))
    return found


def readable(folder: Path, least: int = 1) -> Iterator[Pixels]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_image_name(path):
            try:
                image = read_pixels(path)
            except DataError:
                continue
            if min(image.shape) >= least:
                yield image


if __name__ == "__main__":
    main()
