"""What a gate says about an image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether an image counts as a frontal chest radiograph."""

    ACCEPTED = "accepted"
    UNCERTAIN = "uncertain"
    REFUSED = "refused"


@dataclass(frozen=True)
class Judgement:
    """A verdict and why.

    Args:
        verdict: see :class:`Verdict`.
        reasons: what speaks against or is not known, short and without patient data; for an accepted image what it was
            judged by.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
