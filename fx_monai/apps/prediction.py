"""Prediction for users: ``fx_monai.load``, and files in, files out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fx_monai.apps.devices import choose_device
from fx_monai.errors import FxError
from fx_monai.inference.inputs import find_images, named_by_stem
from fx_monai.inference.load import load_predictor
from fx_monai.inference.outputs import write_outputs
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.source import read_source
from fx_monai.inference.summary import Summary


def load_model(path: str | Path, *, device: str = "", threshold: float = 0.3) -> Predictor:
    """See :func:`fx_monai.load`."""
    return load_predictor(Path(path), device=choose_device(device), threshold=threshold)


def predict_files(
    weights: Path,
    inputs: Sequence[Path],
    *,
    output_dir: Path,
    device: str = "",
    threshold: float = 0.3,
    any_image: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Predict files and folders (searched recursively) and write the results; one bad file doesn't stop the rest.

    What the gate refuses (see :mod:`fx_monai.data.gate`) isn't predicted, unless ``any_image`` says so.

    Raises:
        CheckpointError: the weights can't be used.
        DataError: an input doesn't exist, or the folders hold no image.
    """
    predictor = load_model(weights, device=device, threshold=threshold)
    paths = named_by_stem(find_images(inputs, leave_out=output_dir))
    summary = Summary(output_dir)
    for number, (name, path) in enumerate(paths.items(), start=1):
        try:
            predict_file(predictor, path, name, output_dir, any_image=any_image)
            summary.written.append(name)
        except FxError as error:
            summary.failed.append((name, str(error)))
        if progress:
            progress(number, len(paths))
    return summary


def predict_file(predictor: Predictor, path: Path, name: str, output_dir: Path, *, any_image: bool = False) -> None:
    """Predict one file and write its results.

    Raises:
        DataError: unreadable, or no frontal chest radiograph and not ``any_image``.
    """
    source = read_source(path, any_image=any_image)
    write_outputs(predictor.predict_batch([source])[0], source, name=name, folder=output_dir)
