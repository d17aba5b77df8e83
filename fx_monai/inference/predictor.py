"""The network with its preparation and its interpretation: an image in, a :class:`Prediction` out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fx_monai.inference.activations import Activations, activate
from fx_monai.inference.interpret import interpret
from fx_monai.inference.result import ModelIdentity, Prediction
from fx_monai.inference.source import Source, network_input, read_source, source_of_array
from fx_monai.inference.test_time import FLIPS_NOTE, averaged, mirrored_back
from fx_monai.models.foundation_x import FoundationX


class Predictor:
    """Runs a network on images of any size.

    Args:
        network: with its card.
        identity: of the weights; default: what the card tells.
        device: where to run.
        threshold: least score of a box.
        flips: predict the mirror image too, see :mod:`fx_monai.inference.test_time`.
    """

    def __init__(
        self,
        network: FoundationX,
        *,
        identity: ModelIdentity | None = None,
        device: torch.device | str = "cpu",
        threshold: float = 0.3,
        flips: bool = False,
    ) -> None:
        card = network.card
        self.network = network.to(device).eval()
        self.identity = identity or ModelIdentity(card.recipe or "fx_monai", card.fx_monai_version, "", card)
        self.device = torch.device(device)
        self.threshold = threshold
        self.flips = flips

    def predict(
        self,
        image: str | Path | NDArray[Any],
        *,
        spacing_mm: tuple[float, float] | None = None,
        any_image: bool = False,
    ) -> Prediction:
        """Predict every task for one image.

        Args:
            image: path of a file, or (H, W) pixels with bone bright, see :func:`source_of_array`.
            spacing_mm: mm per pixel (x, y) of pixels in memory, when known.
            any_image: predict also what is no frontal chest radiograph.

        Raises:
            DataError: unreadable, or no frontal chest radiograph and not ``any_image``.
        """
        if isinstance(image, str | Path):
            source = read_source(Path(image), any_image=any_image)
        else:
            source = source_of_array(image, spacing_mm=spacing_mm, any_image=any_image)
        return self.predict_batch([source])[0]

    def predict_batch(self, sources: Sequence[Source]) -> list[Prediction]:
        """Predict images in one pass through the network."""
        found = self.activate(torch.cat([self.prepare(source) for source in sources]))
        return [self.interpret(found, index, source) for index, source in enumerate(sources)]

    def prepare(self, source: Source) -> torch.Tensor:
        """Return what the network reads, (1, 1, S, S) in [0, 1]."""
        return network_input(source.pixels, self.network.config.image_size)

    def activate(self, images: torch.Tensor) -> Activations:
        """Run the network on prepared images, (B, 1, S, S)."""
        images = images.to(self.device)
        found = activate(self.network, images)
        if not self.flips:
            return found
        return averaged([found, mirrored_back(activate(self.network, images.flip(-1)), self.network)])

    def interpret(self, found: Activations, index: int, source: Source) -> Prediction:
        """Return the result of one image of a batch."""
        return interpret(
            found,
            index,
            source,
            self.network,
            self.identity,
            threshold=self.threshold,
            warnings=(FLIPS_NOTE,) if self.flips else (),
            calibrated=not self.flips,
        )
