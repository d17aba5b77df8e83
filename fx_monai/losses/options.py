"""Which losses the tasks take, where there is a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class LossOptions:
    """Choices between the loss that suits the labels and the one that Foundation X takes (WACV 2025, code).

    Args:
        exclusive: for classes of which exactly one holds: ``cross_entropy``, or ``binary`` like Foundation X.
        segmentation: ``dice_ce``, or ``dice`` alone, over all classes at once, like Foundation X.
        class_weighting: of classification, against rare findings: ``none``, ``balanced`` (a class's positives count as
            much as its negatives in all), or ``effective_number`` (less far for classes with few positives); from the
            labels of the training split.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    exclusive: Literal["cross_entropy", "binary"] = "cross_entropy"
    segmentation: Literal["dice_ce", "dice"] = "dice_ce"
    class_weighting: Literal["none", "balanced", "effective_number"] = "none"
