"""The model card that travels inside the weights: architecture, classes, and where the weights come from.

It is stored as JSON bytes under PyTorch's own key for extra state, so ``model.pt`` stays a plain ``state_dict`` that
loads strictly everywhere, and weights of other classes are refused instead of being read under wrong names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fx_monai.errors import CheckpointError
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, ProjectorConfig, SegmentationConfig
from fx_monai.types import Kind, Task, TaskSpec

RESEARCH_ONLY = "research use only"


_CHOSEN = "chosen for "


@dataclass(frozen=True)
class Calibration:
    """What was fitted on the validation images of a classification task, one value per class of its head.

    Args:
        temperatures: logits are divided by it before they become a probability; None = too few images to fit one, the
            probability stays as it is and is not calibrated.
        thresholds: (calibrated) probability from which on the finding counts as present; None = too few images.
        images: validation images.
    """

    temperatures: tuple[float | None, ...]
    thresholds: tuple[float | None, ...]
    images: int


@dataclass(frozen=True)
class ModelCard:
    """Where weights come from.

    Args:
        fx_monai_version: version of the package that trained them.
        recipe: name of the recipe.
        seed: of the training.
        model: ``student``, or ``teacher`` for the teacher's trunk with the student's heads.
        cycle: cycle after which they were kept (from 1).
        validation_mean: mean primary metric on validation that chose them; None when none was defined.
        note: stands in every output, e.g. "trained on phantoms".
        calibration: by classification task (``dataset/kind``); empty = not calibrated.
    """

    fx_monai_version: str = ""
    recipe: str = ""
    seed: int = 0
    model: str = ""
    cycle: int = 0
    validation_mean: float | None = None
    note: str = ""
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    @property
    def statement(self) -> str:
        """Return what stands in every output: the use, and the note."""
        return "; ".join(filter(None, (RESEARCH_ONLY, self.note)))


def chosen_for(task: str) -> str:
    """Return the note of weights that were best on validation for one task."""
    return f"{_CHOSEN}{task}" if task else ""


def inherited_note(parent: str, *own: str) -> str:
    """Return the note of weights that began with others: what those say of themselves stays true, but for their choice.

    Args:
        parent: note of the others.
        own: further notes; "" = none.
    """
    kept = [note for note in parent.split("; ") if not note.startswith(_CHOSEN)]
    return "; ".join(dict.fromkeys(filter(None, (*kept, *own))))


def pack(config: ModelConfig, specs: Sequence[TaskSpec], primary: Task | None, card: ModelCard) -> Tensor:
    """Return architecture, tasks and card as a uint8 tensor of JSON bytes, (N,)."""
    content = {
        "config": dataclasses.asdict(config),
        "tasks": [
            {
                "dataset": spec.task.dataset,
                "kind": spec.task.kind.value,
                "classes": spec.classes,
                "exclusive": spec.exclusive,
            }
            for spec in specs
        ],
        "primary": str(primary) if primary else None,
        "card": dataclasses.asdict(card),
    }
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


def unpack(packed: object, *, where: str) -> tuple[ModelConfig, tuple[TaskSpec, ...], Task | None, ModelCard]:
    """Read what :func:`pack` wrote.

    Raises:
        CheckpointError: not such a tensor, or of a newer format.
    """
    try:
        assert isinstance(packed, Tensor)
        content: dict[str, Any] = json.loads(bytes(packed.tolist()).decode())
        config = dict(content["config"])
        specs = tuple(
            TaskSpec(Task(t["dataset"], Kind(t["kind"])), tuple(t["classes"]), t["exclusive"]) for t in content["tasks"]
        )
        model = ModelConfig(
            **{
                **config,
                "backbone": BackboneConfig(**config["backbone"]),
                "localization": LocalizationConfig(**config["localization"]),
                "segmentation": SegmentationConfig(**config["segmentation"]),
                "projector": ProjectorConfig(**config["projector"]) if config["projector"] else None,
            }
        )
        primary = next((spec.task for spec in specs if str(spec.task) == content["primary"]), None)
        return model, specs, primary, _card(content["card"])
    except (AssertionError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            where=where,
            problem=f"no readable model card in the weights ({type(error).__name__})",
            expected="weights written by this version of fx_monai",
            remedy="Train again, or use the version that wrote them",
        ) from error


def _card(content: Mapping[str, Any]) -> ModelCard:
    calibration = {
        task: Calibration(tuple(own["temperatures"]), tuple(own["thresholds"]), own["images"])
        for task, own in content.get("calibration", {}).items()
    }
    return ModelCard(**{**content, "calibration": calibration})
