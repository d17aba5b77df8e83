"""Prediction for users: ``fx_monai.load``, and files in, files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fx_monai.apps.devices import choose_device
from fx_monai.inference.inputs import find_images
from fx_monai.inference.load import load_predictor
from fx_monai.inference.pipeline import FilePrediction, Options
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.summary import Summary


def load_model(path: str | Path, *, device: str = "", threshold: float = 0.3, flips: bool = False) -> Predictor:
    """See :func:`fx_monai.load`."""
    return load_predictor(Path(path), device=choose_device(device), threshold=threshold, flips=flips)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    *,
    output_dir: Path,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict files and folders (searched recursively) and write the results; one bad file doesn't stop the rest.

    What the gate refuses (see :mod:`fx_monai.data.gate`) isn't predicted, unless the options say so.

    Args:
        predictor: see :func:`load_model`.
        inputs: files and folders.
        output_dir: folder to write.
        options: default: :class:`Options`.
        progress: called with (done, total) images.

    Raises:
        DataError: an input doesn't exist, or the folders hold no image.
        OutputError: the folder can't be written.
    """
    paths = find_images(inputs, leave_out=output_dir)
    work = FilePrediction(predictor, paths, output_dir, options or Options(), progress)
    with work:
        for batch in work:
            work.step(batch)
    return work.summary
