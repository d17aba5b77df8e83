"""The network's outputs as probabilities and boxes, for a batch, in the geometry of the network's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fx_monai.models.card import Calibration
from fx_monai.models.decode import decode_boxes
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task, TaskSpec


@dataclass(frozen=True)
class Activations:
    """What a batch of B images gives, on the CPU.

    Args:
        findings: (B, K) probabilities per classification task, calibrated where a temperature was fitted.
        boxes: per localization task and image ``boxes_xyxy`` (N, 4) in pixels of the input, ``scores`` (N,), best
            first, ``labels`` (N,).
        masks: (B, K, S, S) probabilities per segmentation task.
    """

    findings: Mapping[Task, Tensor]
    boxes: Mapping[Task, list[dict[str, Tensor]]]
    masks: Mapping[Task, Tensor]


@torch.inference_mode()
def activate(network: FoundationX, images: Tensor) -> Activations:
    """Run every head on a batch.

    Args:
        network: in evaluation mode, on the device of the images.
        images: (B, 1, S, S) in [0, 1].
    """
    outputs = network.predict_tasks(images)
    findings: dict[Task, Tensor] = {}
    boxes: dict[Task, list[dict[str, Tensor]]] = {}
    masks: dict[Task, Tensor] = {}
    for task, output in outputs.items():
        if task.kind is Kind.CLASSIFICATION:
            findings[task] = probabilities(output["logits"], network.specs[task], calibration_of(network, task)).cpu()
        elif task.kind is Kind.LOCALIZATION:
            boxes[task] = [{key: value.cpu() for key, value in own.items()} for own in decode_boxes(output)]
        else:
            masks[task] = output["logits"].sigmoid().float().cpu()
    return Activations(findings, boxes, masks)


def calibration_of(network: FoundationX, task: Task) -> Calibration:
    """Return what was fitted for a classification task; a calibration of nothing when nothing was."""
    unknown = (None,) * len(network.specs[task].classes)
    return network.card.calibration.get(str(task), Calibration(unknown, unknown, 0))


def probabilities(logits: Tensor, spec: TaskSpec, fitted: Calibration) -> Tensor:
    """Return (B, K) probabilities of (B, K) logits, scaled by the temperatures that were fitted."""
    scale = logits.new_tensor([temperature or 1.0 for temperature in fitted.temperatures])
    scaled = logits / scale
    return (scaled.softmax(-1) if spec.exclusive else scaled.sigmoid()).float()
