"""The consistency of student and teacher features.

Source: Foundation X (WACV 2025), method figure: backbone feature, localization encoder output, fused segmentation
feature, with a stop-gradient on the teacher. Deviation: all features are compared as unit vectors over the channels and
the squared difference is summed over the channels (0 = same direction, 2 = orthogonal), so that the value has the
scale of a task loss whatever the backbone and its width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fx_monai.ops.global_sum import global_sum


def consistency_loss(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], *, counted: bool = True) -> Tensor:
    """Return the mean over the teacher's features of their mean squared distance, ().

    Args:
        student: features by name; channels stand second in a (B, C, H, W) map, last otherwise.
        teacher: some of these names, the same shapes; no gradient flows into them.
        counted: False when the images are there to keep processes in step only.

    Raises:
        KeyError: the student lacks a feature of the teacher.
    """
    distances = [_distances(student[name], feature.detach()) for name, feature in teacher.items()]
    sums = torch.stack([torch.stack([d.sum(), d.new_tensor(d.numel())]) for d in distances])
    totals = global_sum(sums * float(counted))
    return (totals[:, 0] / totals[:, 1]).mean()


def _distances(student: Tensor, teacher: Tensor) -> Tensor:
    channels = 1 if student.ndim == 4 else -1
    difference = F.normalize(student.float(), dim=channels) - F.normalize(teacher.float(), dim=channels)
    return difference.square().sum(dim=channels)
