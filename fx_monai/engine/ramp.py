"""Values that change over a run by a cosine, such as the teacher's momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """A constant, or a cosine from one value to another over the run.

    Source: Ark (MICCAI 2023): momentum from 0.9 to 1, weight of the consistency loss from 0 to 0.5.

    Args:
        start: value at the beginning.
        end: value at the end; equal to ``start`` for a constant.
    """

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Return the value when a fraction of the run (0 to 1) is done."""
        if self.start == self.end:
            return self.start
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
