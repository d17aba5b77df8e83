"""A contact sheet of the demo cohort: images beside their annotations.

python -m fx_monai.demo.contact_sheet docs/images/demo_contact_sheet.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fx_monai.demo.cases import PREVALENCE, Case, CasePlan, make_case
from fx_monai.demo.findings import CARDIOMEGALY, CONSOLIDATION, EFFUSION, INFILTRATION, NODULE, PNEUMOTHORAX

SIDE = 224
# Okabe and Ito (2008), distinguishable with colour vision deficiency
COLOURS = {
    NODULE: (240, 228, 66),
    CONSOLIDATION: (213, 94, 0),
    EFFUSION: (86, 180, 233),
    PNEUMOTHORAX: (0, 158, 115),
    CARDIOMEGALY: (204, 121, 167),
    INFILTRATION: (230, 159, 0),
}


def draw(case: Case) -> NDArray[np.uint8]:
    """Return the image over its annotated copy, (2 S, S, 3)."""
    plain = cv2.cvtColor(case.image, cv2.COLOR_GRAY2RGB)
    marked = plain.copy()
    for lung in case.lungs:
        outlines, _ = cv2.findContours(lung, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(marked, outlines, -1, (110, 110, 110), 1)
    for lesion in case.lesions:
        outlines, _ = cv2.findContours(lesion.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(marked, outlines, -1, COLOURS[lesion.name], 1)
    names = sorted({lesion.name for lesion in case.lesions}) or ["no finding"]
    for line, name in enumerate(names):
        place = (4, SIDE - 6 - 13 * line)
        cv2.putText(
            marked, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, COLOURS.get(name, (200, 200, 200)), 1, cv2.LINE_AA
        )
    return np.vstack([plain, marked])


def contact_sheet(seed: int = 0, columns: int = 5) -> Image.Image:
    """Return one column per dataset: two cases each, with findings where there are any."""
    rows = []
    for want in range(2):
        tiles = []
        for dataset in list(PREVALENCE)[:columns]:
            cases = (make_case(CasePlan(dataset, number, number, seed), SIDE) for number in range(want * 20, 200))
            tiles.append(draw(next(case for case in cases if len(case.lesions) >= 2 - want)))
        rows.append(np.hstack(tiles))
    return Image.fromarray(np.vstack(rows))


if __name__ == "__main__":
    contact_sheet().convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(Path(sys.argv[1]), optimize=True)
