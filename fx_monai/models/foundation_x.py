"""FoundationX: one trunk (backbone, localization encoder, segmentation decoder) and small parts for every task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fx_monai.errors import CheckpointError
from fx_monai.models.backbone import Backbone
from fx_monai.models.card import ModelCard, pack, unpack
from fx_monai.models.config import ModelConfig
from fx_monai.models.localization import (
    BoxPredictions,
    LocalizationDecoder,
    LocalizationEncoder,
    LocalizationHead,
    Memory,
)
from fx_monai.models.segmentation import SegmentationDecoder, SegmentationHead
from fx_monai.types import Kind, Mode, Task, TaskSpec

BACKBONE_FEATURE = "backbone"
LOC_FEATURE = "loc_memory"
SEG_FEATURE = "seg_fused"


@dataclass(frozen=True)
class TaskOutput:
    """What the network says about one task of a batch.

    Args:
        prediction: classification: logits (B, K); localization: :class:`BoxPredictions`; segmentation: logits
            (B, K, H, W) at the size of the input.
        features: trunk features for the consistency losses: ``backbone`` (B, C) pooled; localization adds
            ``loc_memory`` (B, T, D); segmentation adds ``seg_fused`` (B, D, H / 4, W / 4).
    """

    prediction: Any
    features: dict[str, Tensor]


class Trunk(nn.Module):
    """The parts that all tasks share; the EMA teacher is a copy of it.

    Args:
        config: sizes.
        kinds: kinds of tasks there are; parts that none needs aren't built.
    """

    def __init__(self, config: ModelConfig, kinds: set[Kind]) -> None:
        super().__init__()
        self.backbone = Backbone(config.backbone)
        channels = self.backbone.channels
        self.loc_encoder = (
            LocalizationEncoder(channels[1:], config.localization) if Kind.LOCALIZATION in kinds else None
        )
        self.seg_decoder = (
            SegmentationDecoder(channels, config.segmentation.width) if Kind.SEGMENTATION in kinds else None
        )

    def features(self, image: Tensor, kind: Kind) -> dict[str, Tensor]:
        """Return the features that one kind of task has in common with the teacher (see :class:`TaskOutput`)."""
        features, _ = self.encode(image, {kind})
        return features

    def encode(self, image: Tensor, kinds: set[Kind]) -> tuple[dict[str, Tensor], Memory | None]:
        """Run the backbone and only the shared parts that the kinds need.

        Args:
            image: (B, 1, H, W) in [0, 1].
            kinds: what is asked for.

        Returns:
            The features of :class:`TaskOutput`, and the localization memory with its geometry.
        """
        maps = self.backbone(image)
        features = {BACKBONE_FEATURE: maps[-1].mean((2, 3))}
        memory = None
        if Kind.LOCALIZATION in kinds and self.loc_encoder is not None:
            memory = self.loc_encoder(maps[1:])
            features[LOC_FEATURE] = memory.tokens
        if Kind.SEGMENTATION in kinds and self.seg_decoder is not None:
            features[SEG_FEATURE] = self.seg_decoder(maps)
        return features, memory


class FoundationX(nn.Module):
    """One network for many tasks.

    Args:
        config: sizes.
        specs: tasks with their classes.
        primary: task whose logits :meth:`forward` returns; default: the first segmentation task, else the first
            classification task.
    """

    def __init__(self, config: ModelConfig, specs: Sequence[TaskSpec], primary: Task | None = None) -> None:
        super().__init__()
        self.config = config
        self.specs: Mapping[Task, TaskSpec] = {spec.task: spec for spec in specs}
        self.primary = primary or _default_primary(specs)
        self.card = ModelCard()
        self.trunk = Trunk(config, {spec.task.kind for spec in specs})
        width = self.trunk.backbone.channels[-1]
        boxes, masks = config.localization, config.segmentation
        by_kind = {kind: {s.task.dataset: len(s.classes) for s in specs if s.task.kind is kind} for kind in Kind}
        self.heads = nn.ModuleDict(
            {
                "cls_head": nn.ModuleDict({d: nn.Linear(width, k) for d, k in by_kind[Kind.CLASSIFICATION].items()}),
                "loc_decoder": nn.ModuleDict({d: LocalizationDecoder(boxes) for d in by_kind[Kind.LOCALIZATION]}),
                "loc_head": nn.ModuleDict(
                    {d: LocalizationHead(k, boxes) for d, k in by_kind[Kind.LOCALIZATION].items()}
                ),
                "seg_head": nn.ModuleDict(
                    {d: SegmentationHead(masks.width, k) for d, k in by_kind[Kind.SEGMENTATION].items()}
                ),
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the primary task: (B, K, H, W) for segmentation, (B, K) for classification.

        Args:
            image: (B, 1, H, W) in [0, 1], H and W multiples of 32.
        """
        prediction: Tensor = self.predict_tasks(image, [self.primary])[self.primary].prediction
        return prediction

    def predict_tasks(self, image: Tensor, tasks: Sequence[Task] | None = None) -> dict[Task, TaskOutput]:
        """Return the outputs of any tasks (default: all) from one pass through the shared parts."""
        asked = list(self.specs) if tasks is None else list(tasks)
        features, memory = self.trunk.encode(image, {task.kind for task in asked})
        size = (image.shape[2], image.shape[3])
        return {task: TaskOutput(self._head(task, features, memory, size), features) for task in asked}

    def forward_task(self, image: Tensor, task: Task, *, trunk_grad: bool = True) -> TaskOutput:
        """Return one task's output for training.

        Args:
            image: (B, 1, H, W) in [0, 1].
            task: which.
            trunk_grad: False when the trunk is locked: it runs without autograd.
        """
        with torch.set_grad_enabled(trunk_grad and torch.is_grad_enabled()):
            features, memory = self.trunk.encode(image, {task.kind})
        return TaskOutput(self._head(task, features, memory, (image.shape[2], image.shape[3])), features)

    def _head(self, task: Task, features: Mapping[str, Tensor], memory: Memory | None, size: tuple[int, int]) -> Any:
        if task.kind is Kind.CLASSIFICATION:
            return self._part("cls_head", task)(features[BACKBONE_FEATURE])
        if task.kind is Kind.SEGMENTATION:
            return self._part("seg_head", task)(features[SEG_FEATURE], size)
        prediction: BoxPredictions = self._part("loc_decoder", task)(memory, self._part("loc_head", task))
        return prediction

    def _part(self, name: str, task: Task) -> nn.Module:
        parts: Any = self.heads[name]
        return parts[task.dataset]

    def module_groups(self) -> dict[str, nn.Module]:
        """Return the groups that Lock-Release, optimiser and checkpoints work with: a partition of the network."""
        groups: dict[str, nn.Module] = {
            name: module for name, module in self.trunk.named_children() if module is not None
        }
        groups |= {f"{name}.{dataset}": part for name, dataset, part in self._task_parts()}
        return groups

    def _task_parts(self) -> Iterator[tuple[str, str, nn.Module]]:
        for name, parts in self.heads.items():
            for dataset, part in parts.named_children():
                yield name, dataset, part

    def with_trunk(self, trunk: Trunk) -> FoundationX:
        """Return a network of another trunk with this network's heads; nothing is copied."""
        view = FoundationX.__new__(FoundationX)
        nn.Module.__init__(view)
        view.config, view.specs, view.primary, view.card = self.config, self.specs, self.primary, self.card
        view.trunk, view.heads = trunk, self.heads
        return view

    def get_extra_state(self) -> Tensor:
        """Return architecture, classes and card as bytes, so that they travel with the weights."""
        return pack(self.config, list(self.specs.values()), self.primary, self.card)

    def set_extra_state(self, state: Any) -> None:
        """Check that the weights are for these classes, and take over their card.

        Raises:
            CheckpointError: the weights are for other tasks or classes.
        """
        _, specs, _, card = unpack(state, where="weights")
        theirs, own = {str(s.task): s.classes for s in specs}, {str(t): s.classes for t, s in self.specs.items()}
        for name in sorted(set(theirs) | set(own)):
            if theirs.get(name) != own.get(name):
                raise CheckpointError(
                    where=f"weights, task {name}",
                    problem=f"they have the classes {theirs.get(name, 'of no such task')}",
                    expected=f"{own.get(name, 'no such task')}",
                    remedy="Take weights that were trained with this recipe",
                )
        self.card = card


def groups_of(task: Task, mode: Mode) -> tuple[str, ...]:
    """Return the module groups that a phase trains (Foundation X, slide table; foundation_x groups B, E, D, Q, G, H)."""
    own = {
        Kind.CLASSIFICATION: (f"cls_head.{task.dataset}",),
        Kind.LOCALIZATION: (f"loc_decoder.{task.dataset}", f"loc_head.{task.dataset}"),
        Kind.SEGMENTATION: (f"seg_head.{task.dataset}",),
    }[task.kind]
    left = {
        Kind.CLASSIFICATION: ("backbone",),
        Kind.LOCALIZATION: ("backbone", "loc_encoder"),
        Kind.SEGMENTATION: ("backbone", "seg_decoder"),
    }[task.kind]
    return own if mode is Mode.LOCK else left + own


def _default_primary(specs: Sequence[TaskSpec]) -> Task:
    for kind in (Kind.SEGMENTATION, Kind.CLASSIFICATION, Kind.LOCALIZATION):
        for spec in specs:
            if spec.task.kind is kind:
                return spec.task
    raise ValueError("a network needs at least one task")
