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


def consistency_loss(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over the features of their mean squared distance, ().

    Args:
        student: features by name; channels stand second in a (B, C, H, W) map, last otherwise.
        teacher: the same names and shapes; no gradient flows into them.

    Raises:
        KeyError: the teacher lacks a feature of the student.
    """
    return torch.stack([_distance(feature, teacher[name].detach()) for name, feature in student.items()]).mean()


def _distance(student: Tensor, teacher: Tensor) -> Tensor:
    channels = 1 if student.ndim == 4 else -1
    difference = F.normalize(student, dim=channels) - F.normalize(teacher, dim=channels)
    return difference.square().sum(dim=channels).mean()
