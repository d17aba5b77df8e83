"""Localization heads of this project and of others on one and the same backbone, with one interface."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from fx_monai.losses.task_loss import task_loss
from fx_monai.models.backbone import Backbone
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX
from fx_monai.ops.boxes import xyxy_to_cxcywh_norm
from fx_monai.types import TaskSpec

SMALL_DINO = {
    "width": 128,
    "num_queries": 100,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "feedforward": 256,
    "denoising_queries": 20,
}
# name -> options of the branch and learning rate of everything but the backbone
OWN = {
    "light": ({}, 1e-3),
    "light-plain": ({"denoising_queries": 0, "distribution_bins": 0}, 1e-3),
    "light-denoising": ({"denoising_queries": 20, "distribution_bins": 0}, 1e-3),
    "light-distribution": ({"denoising_queries": 0, "distribution_bins": 16}, 1e-3),
    "light-both": ({"denoising_queries": 20, "distribution_bins": 16}, 1e-3),
    "dino-small": ({"size": "dino", **SMALL_DINO}, 5e-4),
    "dino": ({"size": "dino", "num_queries": 300}, 2e-4),
}
OTHERS = {"fcos": 1e-3, "retinanet": 1e-3, "rtdetr-v2": 5e-4, "d-fine": 5e-4}


def build(name: str, spec: TaskSpec, side: int) -> tuple[nn.Module, float]:
    """Return a detector and its learning rate; ``loss(batch)`` trains it, ``predict(image)`` gives scores and boxes."""
    if name in OWN:
        options, rate = OWN[name]
        return Own(spec, side, LocalizationConfig(**options)), rate
    make = {"fcos": Torchvision, "retinanet": Torchvision, "rtdetr-v2": HuggingFace, "d-fine": HuggingFace}[name]
    return make(name, len(spec.classes), side), OTHERS[name]


class Own(nn.Module):
    """The branch of this project."""

    def __init__(self, spec: TaskSpec, side: int, config: LocalizationConfig) -> None:
        super().__init__()
        self.spec = spec
        self.network = FoundationX(ModelConfig(localization=config, image_size=side), [spec])
        self.backbone = self.network.trunk.backbone

    def loss(self, batch: dict) -> torch.Tensor:
        return task_loss(self.spec, self.network.forward_task(batch["image"], self.spec.task, batch=batch), batch)[0]

    def predict(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.network.predict_tasks(image)[self.spec.task]


class Pyramid(nn.Module):
    """Backbone and feature pyramid for torchvision's heads."""

    def __init__(self, backbone: Backbone, width: int = 128) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, width
        self.pyramid = FeaturePyramidNetwork(
            list(backbone.channels[1:]), width, extra_blocks=LastLevelP6P7(width, width)
        )

    def forward(self, image: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        maps = self.backbone(image)[1:]
        return self.pyramid(OrderedDict((str(level), x) for level, x in enumerate(maps)))


class Torchvision(nn.Module):
    """FCOS or RetinaNet of torchvision, with anchors from 12 pixels and no score threshold."""

    def __init__(self, name: str, num_classes: int, side: int) -> None:
        super().__init__()
        self.backbone = Backbone(BackboneConfig(), side)
        sides = (12, 24, 48, 96, 192)
        settings = {
            "min_size": side,
            "max_size": side,
            "image_mean": [0.0],
            "image_std": [1.0],
            "score_thresh": 0.001,
            "detections_per_img": 100,
        }
        if name == "fcos":
            anchors = AnchorGenerator(tuple((s,) for s in sides), ((1.0,),) * 5)
            self.head = FCOS(Pyramid(self.backbone), num_classes, anchor_generator=anchors, **settings)
        else:
            scales = tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in sides)
            anchors = AnchorGenerator(scales, ((0.5, 1.0, 2.0),) * 5)
            self.head = RetinaNet(Pyramid(self.backbone), num_classes, anchor_generator=anchors, **settings)
        self.num_classes = num_classes

    def loss(self, batch: dict) -> torch.Tensor:
        targets = [
            {"boxes": boxes.clamp(0, batch["image"].shape[-1]), "labels": labels}
            for boxes, labels in zip(batch["boxes"], batch["box_labels"], strict=True)
        ]
        return sum(self.head(list(batch["image"]), targets).values())

    def predict(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = torch.zeros(len(image), 100, self.num_classes)
        boxes = torch.zeros(len(image), 100, 4)
        for index, found in enumerate(self.head(list(image))):
            rows = torch.arange(len(found["labels"]))
            scores[index, rows, found["labels"]] = found["scores"]
            boxes[index, rows] = found["boxes"]
        return {"scores": scores, "boxes_xyxy": boxes}


class PassThrough(nn.Module):
    """Stands in for the convolutional encoder of transformers: hands over maps that were computed elsewhere."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.intermediate_channel_sizes = channels
        self.maps: list[torch.Tensor] = []

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(x, torch.ones(x.shape[0], *x.shape[-2:], dtype=torch.bool)) for x in self.maps]


class HuggingFace(nn.Module):
    """RT-DETRv2 or D-FINE of transformers: one encoder layer, 3 decoder layers, 100 queries, width 128."""

    def __init__(self, name: str, num_classes: int, side: int) -> None:
        super().__init__()
        import transformers

        self.backbone = Backbone(BackboneConfig(), side)
        channels = self.backbone.channels[1:]
        prefix = "RTDetrV2" if name == "rtdetr-v2" else "DFine"
        config = getattr(transformers, f"{prefix}Config")(
            backbone_config=transformers.RTDetrResNetConfig(
                embedding_size=8, hidden_sizes=[8, *channels], depths=[1, 1, 1, 1], layer_type="basic",
                out_features=["stage2", "stage3", "stage4"],
            ),
            encoder_in_channels=list(channels), feat_strides=[8, 16, 32], num_labels=num_classes, num_queries=100,
            decoder_layers=3, num_denoising=20, d_model=128, encoder_hidden_dim=128, encoder_ffn_dim=256,
            decoder_ffn_dim=256, decoder_in_channels=[128] * 3, num_feature_levels=3, use_pretrained_backbone=False,
        )  # fmt: skip
        self.head = getattr(transformers, f"{prefix}ForObjectDetection")(config)
        self.head.model.backbone = PassThrough(channels)

    def _run(self, image: torch.Tensor, labels: list[dict[str, torch.Tensor]] | None = None):
        self.head.model.backbone.maps = self.backbone(image)[1:]
        return self.head(pixel_values=image, labels=labels)

    def loss(self, batch: dict) -> torch.Tensor:
        side = batch["image"].shape[-1]
        labels = [
            {"boxes": xyxy_to_cxcywh_norm(boxes, side), "class_labels": classes}
            for boxes, classes in zip(batch["boxes"], batch["box_labels"], strict=True)
        ]
        return self._run(batch["image"], labels).loss

    def predict(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        found, side = self._run(image), image.shape[-1]
        centre, size = found.pred_boxes.split(2, dim=-1)
        boxes = torch.cat((centre - size / 2, centre + size / 2), dim=-1) * side
        return {"scores": found.logits.sigmoid(), "boxes_xyxy": boxes.clamp(0, side)}
