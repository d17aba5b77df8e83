"""Class activation maps: which places of the backbone's last map a classification head's logits come from.

Sources: CAM (Zhou et al., CVPR 2016) for a linear head on the mean of a feature map; Grad-CAM (Selvaraju et al., ICCV
2017) where a projector stands between. The mean has the same derivative at every place, so the two are one formula, of
which the first is the exact case. Deviation from Grad-CAM: negative values are kept; who draws a map cuts them off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fx_monai.models.backbone import padded
from fx_monai.models.foundation_x import FoundationX
from fx_monai.types import Kind, Task


@dataclass(frozen=True)
class ActivationMaps:
    """Maps of one classification task.

    Args:
        logits: (B, K).
        maps: (B, K, H, W) in pixels of the input; the higher, the more the place speaks for the class. Without a
            projector the mean of a coarse map plus the class's bias is the logit.
    """

    logits: Tensor
    maps: Tensor


def is_exact(network: FoundationX) -> bool:
    """Return whether maps add up to the logits (CAM), or follow their slope only (Grad-CAM, with a projector)."""
    return not hasattr(network.trunk, "projector")


def activation_maps(network: FoundationX, image: Tensor) -> dict[Task, ActivationMaps]:
    """Return the maps of every classification task.

    Args:
        network: in evaluation mode.
        image: (B, 1 or 3, H, W) in [0, 1].
    """
    height, width = image.shape[-2:]
    result = {}
    for task, (logits, coarse) in coarse_maps(network, image).items():
        # the backbone pads at the right and the bottom
        whole = nn.functional.interpolate(coarse, (padded(height), padded(width)), mode="bilinear", align_corners=False)
        result[task] = ActivationMaps(logits, whole[..., :height, :width])
    return result


def coarse_maps(network: FoundationX, image: Tensor) -> dict[Task, tuple[Tensor, Tensor]]:
    """Return logits (B, K) and maps (B, K, H / 32, W / 32) of every classification task."""
    with torch.no_grad():
        backbone = network.trunk.backbone
        feature = backbone.norm(backbone(image)[-1])
    pooled = feature.mean(dim=(2, 3)).requires_grad_()
    result = {}
    with torch.enable_grad():
        read = pooled if is_exact(network) else network.trunk.projector(pooled)
        for task in network.specs:
            if task.kind is not Kind.CLASSIFICATION:
                continue
            logits = network.heads["cls_head"][task.dataset](read)  # type: ignore[index]
            # an image's logits depend on its own feature alone, so the sum over images gives each its slope
            slopes = [torch.autograd.grad(own.sum(), pooled, retain_graph=True)[0] for own in logits.unbind(1)]
            maps = torch.einsum("kbc,bchw->bkhw", torch.stack(slopes), feature)
            result[task] = (logits.detach(), maps)
    return result
