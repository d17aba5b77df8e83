"""Nested, patient-wise subsets of training images, for curves of score against the amount of annotated data.

A patient is in or out with all images, and a larger subset of the same draw holds every smaller one, so that two points
of a curve differ by what was added and by nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fx_monai.data.annotations import class_positions
from fx_monai.data.columns import ragged
from fx_monai.data.manifest import Manifest
from fx_monai.data.policies import Policies, decided_labels
from fx_monai.errors import ConfigError
from fx_monai.types import Kind, TaskSpec


@dataclass(frozen=True)
class Subset:
    """How much of the training split is used: one of both is given.

    Args:
        shots: n of n-shot learning: n patients who show each class, and for image-level labels n patients in whom it
            was looked for and not found. Where every image shows every class, as organs do, these are n patients in
            all, which is what Foundation X calls its few-shot setting (its random subsets of JSRT).
        percent: of the patients, at least one.

    Raises:
        ConfigError: neither or both, fewer than one shot, or a share that is none.
    """

    shots: int = 0
    percent: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no amount."""
        number = self.shots or self.percent
        if bool(self.shots) == bool(self.percent) or number < 0 or self.percent > 100:
            raise ConfigError(
                where="--shots" if self.shots else "--fractions",
                problem=f"{number:g}",
                expected="a whole number of shots of at least 1, or a percentage above 0 and up to 100",
                remedy="Correct the value",
            )

    def __str__(self) -> str:
        return f"{self.shots} shots" if self.shots else f"{self.percent:g} %"

    def choose(self, patients: Sequence[str], shown: NDArray[np.float32], *, seed: int, draw: int) -> NDArray[np.bool_]:
        """Return which images are in the subset, (N,).

        Args:
            patients: one per image.
            shown: (N, K), see :func:`shown_classes`.
            seed: of all draws.
            draw: tells several draws apart; subsets of one draw are nested.
        """
        names, of_image = np.unique(np.asarray(patients), return_inverse=True)
        place = _places(names, f"{seed}:{draw}")
        if self.percent:
            # rounded first, so that 100 x 0.07 patients are 7 and not 8
            chosen = place < max(1, math.ceil(round(len(names) * self.percent / 100, 6)))
        else:
            chosen = _least_rank(place, of_image, shown) < self.shots
        return np.asarray(chosen[of_image])


def shown_classes(
    manifest: Manifest, spec: TaskSpec, policies: Policies, rows: NDArray[np.int64], *, seed: int
) -> NDArray[np.float32]:
    """Return whether images show the classes of a task, (N, K): 1 yes, 0 no (image-level labels only), NaN unknown.

    Args:
        manifest: of the images.
        spec: the task.
        policies: what becomes of doubtful labels; a smoothed label counts as the side of 0.5 it lies on.
        rows: (N,), manifest rows.
        seed: of smoothed labels.
    """
    own = class_positions(manifest, spec)
    if spec.task.kind is Kind.CLASSIFICATION:
        labels = decided_labels(manifest, policies, seed)[rows[:, None], own]
        return np.where(np.isnan(labels), np.nan, np.round(labels)).astype(np.float32)
    items = ragged(manifest.table, "boxes" if spec.task.kind is Kind.LOCALIZATION else "masks")
    classes = np.asarray(items.field("class_index"), dtype=np.int64)
    shown = np.full((len(manifest), len(own)), np.nan, dtype=np.float32)
    for position, class_index in enumerate(own):
        shown[items.rows[classes == class_index], position] = 1
    return shown[rows]


def _places(names: NDArray[np.str_], seed: str) -> NDArray[np.int64]:
    """Return each patient's place in an order that depends on the seed and the name alone."""
    digests = (hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8] for name in names.tolist())
    keys = np.frombuffer(b"".join(digests), dtype=">u8")
    places = np.empty(len(names), dtype=np.int64)
    places[np.argsort(keys, kind="stable")] = np.arange(len(names))
    return places


def _least_rank(
    place: NDArray[np.int64], of_image: NDArray[np.int64], shown: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return, per patient, the least rank that the patient has among those who show a class, or lack one.

    Taking everyone with a rank below n takes, class by class, the first n in order: nested in n by construction.
    """
    least = np.full(len(place), np.inf)
    order = np.argsort(place)
    for values in (shown == 1, shown == 0):
        for flags in values.T:
            patients = np.bincount(of_image, weights=flags, minlength=len(place)) > 0
            ranks = np.cumsum(patients[order]) - 1
            ranked = np.empty(len(place))
            ranked[order] = np.where(patients[order], ranks, np.inf)
            least = np.minimum(least, ranked)
    return least
