"""fx_monai: chest X-ray models trained on every annotation there is. Research use only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fx_monai.inference.predictor import Predictor

__version__ = "0.1.0"


def load(path: str | Path, *, device: str = "", threshold: float = 0.3, flips: bool = False) -> Predictor:
    """Load a network for prediction: ``fx_monai.load("bundle").predict("image.dcm")``.

    Args:
        path: folder of a bundle (with ``models/model.pt``) or of a run (with ``model.pt``), or the file itself.
        device: e.g. ``cpu`` or ``cuda:0``; default: the first GPU, else the CPU.
        threshold: least score of a box.
        flips: predict the mirror image too and take the mean.

    Raises:
        CheckpointError: no weights there, or not weights of fx_monai.
        ConfigError: no such device.
    """
    # the command line's help imports this package and has to stay quick
    from fx_monai.apps.prediction import load_model

    return load_model(path, device=device, threshold=threshold, flips=flips)
