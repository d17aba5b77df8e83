"""Foundation X: one shared trunk, and heads of its own for every task.

Source: Foundation X (Islam et al., WACV 2025), method figure, written from the paper.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.models.backbone import padded
from fx_monai.models.card import ModelCard, pack, unpack
from fx_monai.models.config import ModelConfig
from fx_monai.models.localization import build_decoder, build_head, num_tokens
from fx_monai.models.localization_layers import check_queries
from fx_monai.models.scripted import TracedForward
from fx_monai.models.segmentation import SegmentationHead
from fx_monai.models.trunk import Trunk as Trunk
from fx_monai.models.trunk import TrunkOutput
from fx_monai.models.upernet import UPerNetHead
from fx_monai.ops.box_targets import BoxTargets
from fx_monai.ops.boxes import cxcywh_norm_to_xyxy
from fx_monai.types import Kind, Mode, Task, TaskSpec


@dataclass(frozen=True)
class TaskOutput:
    """Raw output of one task, for its loss and for the consistency loss.

    Args:
        predictions: classification ``logits`` (B, K); segmentation ``logits`` (B, K, S, S); localization what
            :func:`fx_monai.models.localization.build_decoder` says.
        features: see :meth:`Trunk.features`.
    """

    predictions: dict[str, Tensor]
    features: dict[str, Tensor]


class FoundationX(nn.Module):
    """The network of all tasks.

    Args:
        config: sizes.
        specs: tasks and their classes.
        primary: the task whose logits :meth:`forward` returns; default: the first segmentation task, else the first
            classification task, else the first task.

    Raises:
        ConfigError: no task, a task twice, a task without classes, a dataset name that can't name a module, an unknown
            primary task, more queries than tokens, or what :class:`Backbone` refuses.
    """

    def __init__(self, config: ModelConfig, specs: Sequence[TaskSpec], *, primary: Task | None = None) -> None:
        super().__init__()
        _check(config, specs, primary)
        self.config = config
        self.specs = {spec.task: spec for spec in specs}
        self.primary = primary or _default_primary(list(self.specs))
        self.card = ModelCard()
        self.trunk = Trunk(config, {task.kind for task in self.specs})
        self.heads = nn.ModuleDict()
        for spec in specs:
            for part, module in self._build_heads(spec).items():
                if part not in self.heads:
                    self.heads[part] = nn.ModuleDict()
                self._part(part)[spec.task.dataset] = module

    def _build_heads(self, spec: TaskSpec) -> dict[str, nn.Module]:
        num_classes = len(spec.classes)
        if spec.task.kind is Kind.CLASSIFICATION:
            return {"cls_head": nn.Linear(self.trunk.width, num_classes)}
        if spec.task.kind is Kind.SEGMENTATION:
            sizes = self.config.segmentation
            return {
                "seg_head": (UPerNetHead if sizes.decoder == "upernet" else SegmentationHead)(sizes.width, num_classes)
            }
        config = self.config.localization
        own_decoder = {} if config.shared_decoder else {"loc_decoder": build_decoder(config)}
        return {**own_decoder, "loc_head": build_head(config, num_classes)}

    def forward(self, image: Tensor) -> Tensor:
        """Return the primary task's logits.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1].

        Returns:
            (B, K, H, W) of a segmentation task; (B, K) of a classification task; (B, Q, K) of a localization task.
        """
        return self.predict_tasks(image, [self.primary])[self.primary]["logits"]

    def forward_task(
        self, image: Tensor, task: Task, *, trunk_grad: bool = True, batch: Mapping[str, Any] | None = None
    ) -> TaskOutput:
        """Run one task for training.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1], H and W multiples of 32.
            task: a task of the network.
            trunk_grad: False in LOCK: the trunk runs without building a graph.
            batch: what the images are annotated with (see :mod:`fx_monai.keys`), for denoising queries.
        """
        with torch.set_grad_enabled(trunk_grad and torch.is_grad_enabled()):
            trunk = self.trunk(image, (task.kind,))
        targets = BoxTargets.of_batch(batch) if batch is not None and task.kind is Kind.LOCALIZATION else None
        return TaskOutput(self._run_heads(trunk, task, image, targets), trunk.features())

    def predict_tasks(self, image: Tensor, tasks: Sequence[Task] | None = None) -> dict[Task, dict[str, Tensor]]:
        """Predict several tasks in one pass through the trunk; only what is asked for is computed.

        Args:
            image: (B, 1 or 3, H, W) in [0, 1]; any size, best near ``config.image_size``.
            tasks: default: all.

        Returns:
            Per task: classification ``logits`` and ``probs`` (B, K); segmentation ``logits`` (B, K, H, W); localization
            ``logits`` and ``scores`` (B, Q, K) and ``boxes_xyxy`` (B, Q, 4) in pixels of the input.
        """
        chosen = list(self.specs) if tasks is None else list(tasks)
        trunk = self.trunk(image, {task.kind for task in chosen})
        return {
            task: finish(self._run_heads(trunk, task, image), self.specs[task], image.shape[-2:]) for task in chosen
        }

    def _run_heads(
        self, trunk: TrunkOutput, task: Task, image: Tensor, targets: BoxTargets | None = None
    ) -> dict[str, Tensor]:
        if task.kind is Kind.CLASSIFICATION:
            return {"logits": self._part("cls_head")[task.dataset](trunk.pooled)}
        if task.kind is Kind.SEGMENTATION:
            height, width = image.shape[-2:]
            logits = self._part("seg_head")[task.dataset](trunk.fused, (padded(height), padded(width)))
            return {"logits": logits[..., :height, :width]}
        shared = self.config.localization.shared_decoder
        decoder = self.trunk.loc_decoder if shared else self._part("loc_decoder")[task.dataset]
        return decoder(trunk.memory, self._part("loc_head")[task.dataset], targets)

    def _part(self, name: str) -> nn.ModuleDict:
        part = self.heads[name]
        assert isinstance(part, nn.ModuleDict)
        return part

    def module_groups(self) -> dict[str, nn.Module]:
        """Return the groups that Lock-Release and the optimiser work on; each parameter and buffer is in one.

        Names: ``backbone``, ``projector``, ``loc_encoder``, ``seg_decoder``, and per dataset ``cls_head.<dataset>``,
        ``loc_decoder.<dataset>``, ``loc_head.<dataset>``, ``seg_head.<dataset>``; a shared localization decoder is
        ``loc_decoder``.
        """
        groups = dict(self.trunk.named_children())
        for part in self.heads:
            groups |= {f"{part}.{dataset}": module for dataset, module in self._part(part).items()}
        return groups

    def with_trunk(self, trunk: Trunk) -> FoundationX:
        """Return a network with another trunk and THE SAME heads (not copies), in evaluation mode by its flag.

        With the teacher's trunk this is what "teacher" means wherever it is evaluated or exported.
        """
        view = copy.copy(self)
        # copy.copy shares the module table, and a change of it would show in self
        view.__dict__["_modules"] = {**self._modules, "trunk": trunk}
        view.training = False
        return view

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what ``torch.jit.script`` compiles instead: the traced :meth:`forward` at the usual input size."""
        return TracedForward(self, self.config.image_size)

    def get_extra_state(self) -> Tensor:
        """Return the model card that travels inside the ``state_dict``."""
        # where the backbone began, without folders of the machine it was trained on
        backbone = replace(self.config.backbone, pretrained=self.trunk.backbone.weights)
        return pack(replace(self.config, backbone=backbone), list(self.specs.values()), self.primary, self.card)

    def set_extra_state(self, state: Any) -> None:
        """Take over the model card of loaded weights.

        Raises:
            CheckpointError: the weights are of other tasks or classes.
        """
        config, specs, _, card = unpack(state, where="weights")
        loaded = {spec.task: spec for spec in specs}
        for task in self.specs.keys() | loaded.keys():
            if self.specs.get(task) != loaded.get(task):
                raise CheckpointError(
                    where=f"weights, task {task}",
                    problem=f"classes {_names(loaded, task)}",
                    expected=f"the classes of this network: {_names(self.specs, task)}",
                    remedy="Take the recipe and the data that the weights were trained with",
                )
        self.card = card
        self.trunk.backbone.weights = config.backbone.pretrained


def groups_of(task: Task, mode: Mode, declared: Collection[str]) -> tuple[str, ...]:
    """Return the names of the module groups that a phase trains; all others are locked.

    Source: Foundation X (WACV 2025), method figure: LOCK trains the task's own parameters, RELEASE also the shared
    parts left of them. The projector of Ark is released with the backbone. A localization decoder that all datasets
    share is locked in LOCK (Foundation X+).

    Args:
        task: of the phase.
        mode: of the phase.
        declared: names of the network's groups; a network may lack the projector, or have one localization decoder
            for all datasets.
    """
    own = {
        Kind.CLASSIFICATION: ("cls_head",),
        Kind.LOCALIZATION: ("loc_head",) if "loc_decoder" in declared else ("loc_decoder", "loc_head"),
        Kind.SEGMENTATION: ("seg_head",),
    }[task.kind]
    shared = {
        Kind.CLASSIFICATION: ("backbone", "projector"),
        Kind.LOCALIZATION: ("backbone", "projector", "loc_encoder", "loc_decoder"),
        Kind.SEGMENTATION: ("backbone", "projector", "seg_decoder"),
    }[task.kind]
    released = [name for name in shared if name in declared] if mode is Mode.RELEASE else []
    return (*released, *(f"{part}.{task.dataset}" for part in own))


def finish(predictions: Mapping[str, Tensor], spec: TaskSpec, size: Sequence[int]) -> dict[str, Tensor]:
    """Turn raw predictions into what users read; see :meth:`FoundationX.predict_tasks`.

    Args:
        predictions: of :class:`TaskOutput`.
        spec: the task.
        size: height and width of the network's input in pixels.
    """
    logits = predictions["logits"]
    if spec.task.kind is Kind.CLASSIFICATION:
        return {"logits": logits, "probs": logits.softmax(-1) if spec.exclusive else logits.sigmoid()}
    if spec.task.kind is Kind.SEGMENTATION:
        return {"logits": logits}
    height, width = size
    canvas = logits.new_tensor([padded(width), padded(height)]).repeat(2)
    boxes_xyxy = cxcywh_norm_to_xyxy(predictions["boxes"][-1], 1) * canvas
    limit = logits.new_tensor([width, height]).repeat(2)
    return {
        "logits": logits[-1],
        "scores": logits[-1].sigmoid(),
        "boxes_xyxy": torch.minimum(boxes_xyxy.clamp(min=0), limit),
    }


def _default_primary(tasks: Sequence[Task]) -> Task:
    order = (Kind.SEGMENTATION, Kind.CLASSIFICATION, Kind.LOCALIZATION)
    return min(tasks, key=lambda task: order.index(task.kind))


def _names(specs: Mapping[Task, TaskSpec], task: Task) -> str:
    return ", ".join(specs[task].classes) + (" (exclusive)" if specs[task].exclusive else "") if task in specs else "-"


def _check(config: ModelConfig, specs: Sequence[TaskSpec], primary: Task | None) -> None:
    tasks = [spec.task for spec in specs]
    problem = ""
    if not tasks:
        problem = "there is no task"
    for spec in specs:
        if tasks.count(spec.task) > 1:
            problem = f"the task {spec.task} is given twice"
        elif not spec.classes or len(set(spec.classes)) < len(spec.classes):
            problem = f"the classes of {spec.task} are {list(spec.classes)}"
        elif not spec.task.dataset or "." in spec.task.dataset or hasattr(nn.ModuleDict(), spec.task.dataset):
            problem = f"a dataset is called '{spec.task.dataset}'"
    if primary is not None and primary not in tasks:
        problem = f"the primary task {primary} is not among the tasks"
    if problem:
        raise ConfigError(
            where="tasks of the network",
            problem=problem,
            expected="different tasks with different class names each, dataset names of letters, digits and _ that are "
            f"no word of PyTorch's modules; here: {', '.join(map(str, tasks)) or 'none'}",
            remedy="Correct the datasets of the recipe",
        )
    check_image_size(config, tasks)


def check_image_size(config: ModelConfig, tasks: Iterable[Task]) -> None:
    """Refuse images too small for the queries of the localization tasks.

    Raises:
        ConfigError: more queries than memory tokens.
    """
    if any(task.kind is Kind.LOCALIZATION for task in tasks):
        check_queries(config.localization.num_queries, num_tokens(config.localization, config.image_size))
