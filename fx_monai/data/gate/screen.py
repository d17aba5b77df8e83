"""The gate for a whole manifest: refused images are left out, uncertain ones counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from fx_monai.data.gate.judge import judge_image
from fx_monai.data.gate.verdict import Verdict
from fx_monai.data.manifest import Manifest
from fx_monai.data.pixels import read_pixels
from fx_monai.errors import DataError

_SHOWN = 5


def screen(manifest: Manifest, *, progress: Callable[[int, int], None] | None = None) -> Manifest:
    """Return the manifest without the images that the gate refuses; notes name them and count the uncertain ones.

    Every image is read. What can't be read stays: the image store lists it.

    Args:
        manifest: of a folder whose images are there.
        progress: called with (done, total).
    """
    ids, paths = manifest.column("image_id"), manifest.column("image_path")
    keep = np.ones(len(ids), dtype=bool)
    refused, uncertain = [], 0
    for row, (image_id, path) in enumerate(zip(ids, paths, strict=True)):
        try:
            judgement = judge_image(manifest.root / path, read_pixels(manifest.root / path))
        except DataError:
            continue
        keep[row] = judgement.verdict is not Verdict.REFUSED
        uncertain += judgement.verdict is Verdict.UNCERTAIN
        if judgement.verdict is Verdict.REFUSED:
            refused.append(f"{image_id}: {'; '.join(judgement.reasons)}")
        if progress:
            progress(row + 1, len(ids))
    notes = list(manifest.notes)
    if refused:
        shown = " | ".join(refused[:_SHOWN]) + (" | ..." if len(refused) > _SHOWN else "")
        notes.append(f"{manifest.dataset}: {len(refused)} images are no frontal chest; left out ({shown})")
    if uncertain:
        notes.append(f"{manifest.dataset}: {uncertain} images may be no frontal chest; kept")
    table = manifest.table.filter(pa.array(keep))
    return Manifest(table, dataset=manifest.dataset, classes=manifest.classes, root=manifest.root, notes=tuple(notes))
