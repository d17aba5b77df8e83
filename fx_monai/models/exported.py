"""The network as other runtimes read it: one image tensor in, a fixed list of tensors out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fx_monai import __version__
from fx_monai.models.card import RESEARCH_ONLY
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task

# what each kind hands out: of what predict_tasks returns
VALUES = {
    Kind.CLASSIFICATION: ("probs",),
    Kind.LOCALIZATION: ("scores", "boxes_xyxy"),
    Kind.SEGMENTATION: ("logits",),
}


@dataclass(frozen=True)
class Output:
    """One tensor that comes out: ``<dataset>_<kind>_<value>``, e.g. ``rsna_pneumonia_classification_probs``."""

    task: Task
    value: str

    @property
    def name(self) -> str:
        """Return the tensor's name."""
        return output_name(self.task, self.value)


def output_name(task: Task, value: str) -> str:
    """Return the name of one output of a task: ``<dataset>_<kind>_<value>``."""
    return f"{task.dataset}_{task.kind.value}_{value}"


def named_outputs(network: FoundationX, image: Tensor) -> dict[str, Tensor]:
    """Return every output of every task by name, and first ``pred``, the logits of the primary task.

    Args:
        network: in evaluation mode.
        image: (B, 1, S, S) in [0, 1].

    Returns:
        Shapes as :meth:`ExportedNetwork.forward` says.
    """
    found = network.predict_tasks(image)
    named = {output_name(task, value): output[value] for task, output in found.items() for value in VALUES[task.kind]}
    return {"pred": found[network.primary]["logits"], **named}


class ExportedNetwork(nn.Module):
    """The chosen tasks of a network.

    Args:
        network: in evaluation mode.
        tasks: in the order of the outputs.
    """

    def __init__(self, network: FoundationX, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.network = network
        self.tasks = tuple(tasks)
        self.outputs = tuple(Output(task, value) for task in self.tasks for value in VALUES[task.kind])

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Return the outputs in their order; a single one stands alone.

        Args:
            image: (B, 1, S, S) in [0, 1].

        Returns:
            Per task: classification ``probs`` (B, K); segmentation ``logits`` (B, K, S, S); localization ``scores``
            (B, Q, K) and ``boxes_xyxy`` (B, Q, 4) in pixels of the input, neither sorted nor thinned out.
        """
        found = self.network.predict_tasks(image, self.tasks)
        values = tuple(found[output.task][output.value] for output in self.outputs)
        return values if len(values) > 1 else values[0]

    def description(self) -> dict[str, Any]:
        """Return what a reader of the outputs has to know, as plain values."""
        network = self.network
        return {
            "fx_monai_version": __version__,
            "input": {"channels": 1, "side": network.config.image_size, "values": "0 to 1, bone bright"},
            "outputs": [
                {
                    "name": output.name,
                    "dataset": output.task.dataset,
                    "kind": output.task.kind.value,
                    "value": output.value,
                    "classes": list(network.specs[output.task].classes),
                    "exclusive": network.specs[output.task].exclusive,
                }
                for output in self.outputs
            ],
            "card": dataclasses.asdict(network.card),
            "use": RESEARCH_ONLY,
        }
