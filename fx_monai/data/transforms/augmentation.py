"""How strongly training images are varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fx_monai.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied; 0 switches a part off.

    Args:
        rotation_deg: largest rotation, degrees, both ways.
        scale: largest change of size, fraction, both ways.
        translate: largest shift, fraction of the image side.
        flip: mirror half of the images; left and right classes swap.
        brightness: largest shift of grey values, fraction of the range.
        contrast: largest change of contrast, fraction.
        gamma: largest change of the exponent, as |log(gamma)|.
        noise: largest standard deviation of Gaussian noise, fraction of the range.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    rotation_deg: float = 7.0
    scale: float = 0.1
    translate: float = 0.05
    flip: bool = False
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.25
    noise: float = 0.02

    def __post_init__(self) -> None:
        """Refuse strengths that make no sense."""
        limits = {
            "rotation_deg": 180.0,
            "scale": 0.9,
            "translate": 0.9,
            "brightness": 1,
            "contrast": 1,
            "gamma": 3,
            "noise": 1,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ConfigError(
                    where=f"augmentation.{name}",
                    problem=f"{value}",
                    expected=f"0 to {limit}",
                    remedy="Correct the value",
                )
