"""Dice, IoU and Hausdorff distance of masks."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, MeanIoU
from scipy.ndimage import binary_erosion, distance_transform_edt

from fx_monai.metrics.dice import dice_per_image, iou_of_dice, mean_where
from fx_monai.metrics.surface import hd95_per_image


def random_masks(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(6, 3, 8, 8, generator=generator).round() for _ in range(2))


def test_dice_by_hand_and_policy_for_empty_masks():
    predicted = torch.zeros(3, 1, 4, 4)
    masks = torch.zeros(3, 1, 4, 4)
    masks[0, 0, 0, :4] = 1
    predicted[0, 0, 0, :2] = 1
    predicted[2, 0, 0, 0] = 1
    dice = dice_per_image(predicted, masks)
    assert dice.flatten().tolist() == pytest.approx([2 * 2 / 6, 1, 0])
    assert iou_of_dice(dice.numpy()).ravel().tolist() == pytest.approx([2 / 4, 1, 0])


def test_dice_and_iou_equal_monai_where_there_is_a_mask():
    predicted, masks = random_masks()
    dice = dice_per_image(predicted, masks)
    torch.testing.assert_close(dice.float(), DiceMetric(reduction="none")(predicted, masks).float())
    theirs = MeanIoU(reduction="none")(predicted, masks)
    torch.testing.assert_close(torch.from_numpy(iou_of_dice(dice.numpy())).float(), theirs.float())


def test_distance_equals_monai_and_scipy():
    predicted, masks = random_masks(1)
    ours = hd95_per_image(predicted, masks)
    theirs = HausdorffDistanceMetric(include_background=True, percentile=95, reduction="none")(predicted, masks)
    torch.testing.assert_close(ours.float(), theirs.float())
    outlines = [m & ~binary_erosion(m) for m in (predicted[0, 0].bool().numpy(), masks[0, 0].bool().numpy())]
    both = [np.percentile(distance_transform_edt(~outlines[1 - i])[outlines[i]], 95) for i in (0, 1)]
    assert float(ours[0, 0]) == pytest.approx(max(both), abs=1e-5)


def test_distance_to_an_empty_mask_is_the_diagonal():
    full, empty = torch.ones(1, 1, 3, 4), torch.zeros(1, 1, 3, 4)
    assert hd95_per_image(empty, empty).item() == 0
    assert hd95_per_image(full, empty).item() == hd95_per_image(empty, full).item() == math.hypot(3, 4)
    assert hd95_per_image(full, full).item() == 0


def test_mean_where():
    values = np.array([[1.0, 0.5], [0.0, 0.7]])
    chosen = np.array([[True, False], [True, False]])
    assert mean_where(values, chosen)[0] == 0.5
    assert np.isnan(mean_where(values, chosen)[1])
    resampled = mean_where(values, chosen, np.array([[2, 0], [0, 0]], dtype=np.float32))
    assert resampled[0, 0] == 1
    assert np.isnan(resampled[:, 1]).all()
