"""What ``inference.json`` names: the images, the predictor, and the engine that takes them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import Dataset
from monai.engines.workflow import Workflow

from fx_monai.apps.training import say
from fx_monai.errors import DataError
from fx_monai.inference.inputs import find_images
from fx_monai.inference.load import identity_of
from fx_monai.inference.output_kinds import DEFAULT_OUTPUTS, parse_outputs
from fx_monai.inference.pipeline import FilePrediction, Options, Read
from fx_monai.inference.predictor import Predictor
from fx_monai.inference.views import parse_together
from fx_monai.models.foundation_x import FoundationX
from fx_monai.progress import progress_bar


class ImageFiles(Dataset):
    """The images of a folder (searched recursively) or one file, as dicts with ``image`` (path).

    Args:
        folder: folder or file.
        data: such dicts, instead of looking into the folder.

    Raises:
        DataError: nothing there.
    """

    def __init__(self, folder: str, data: list[dict[str, str]] | None = None) -> None:
        super().__init__([{"image": str(path)} for path in find_images([Path(folder)])] if data is None else data)


def make_predictor(
    *,
    network: FoundationX,
    weights: str | Path,
    device: torch.device | str = "cpu",
    threshold: float = 0.3,
    flips: bool = False,
) -> Predictor:
    """Return the network of the bundle as a predictor that knows which weights it runs.

    Args:
        network: with its weights.
        weights: the file they come from.
        device: where to run.
        threshold: least score of a box.
        flips: predict the mirror image too and take the mean.
    """
    identity = identity_of(Path(weights), network.card)
    return Predictor(network, identity=identity, device=device, threshold=threshold, flips=flips)


class PredictionEvaluator(Workflow):
    """Predicts every image of a dataset and writes the results; one bad file doesn't stop the rest.

    Args:
        device: where to run.
        dataset: see :class:`ImageFiles`.
        predictor: the network with its preparation and interpretation.
        output_dir: folder to write.
        write: kinds of files, see :class:`fx_monai.inference.outputs.Output`; separated by commas.
        any_image: predict what the gate refuses too.
        keep_identifiers: name results after their files, and tell patient, study and path in the JSON.
        together: whose findings are combined too, see :class:`fx_monai.inference.views.Together`.
        batch_size: images in one pass.
        val_handlers: Ignite or MONAI handlers.

    Raises:
        ConfigError: an unknown kind of file or of togetherness.
        OutputError: the folder can't be written.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        dataset: ImageFiles,
        predictor: Predictor,
        output_dir: str,
        write: str = ",".join(DEFAULT_OUTPUTS),
        any_image: bool = False,
        keep_identifiers: bool = False,
        together: str = "none",
        batch_size: int = 8,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        options = Options(
            outputs=parse_outputs(write),
            any_image=any_image,
            keep_identifiers=keep_identifiers,
            together=parse_together(together),
            batch_size=batch_size,
        )
        paths = [Path(dataset[index]["image"]) for index in range(len(dataset))]
        self.work = FilePrediction(predictor, paths, Path(output_dir), options, progress_bar("predicting"))
        super().__init__(device, 1, self.work, decollate=False)
        self._register_handlers(list(val_handlers or ()))

    def run(self) -> None:
        """Predict everything and print the summary.

        Raises:
            DataError: an image could not be predicted; the others are.
            OutputError: the folder can't be written.
        """
        with self.work:
            super().run()
        summary = self.work.summary
        for line in summary.lines():
            say(line)
        if summary.failed:
            raise DataError(
                where="inferring",
                problem=f"{len(summary.failed)} of {len(self.work.paths)} images could not be predicted",
                expected="whole images",
                remedy="See the list above; the results of the others are written",
            )

    def _iteration(self, engine: Engine, batch: list[Read]) -> dict[str, Any]:
        self.work.step(batch)
        return {}
