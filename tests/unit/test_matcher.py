import math

import pytest
import torch

from fx_monai.losses.matcher import match, pairwise_cost


def test_cost_by_hand():
    boxes, targets = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[0.6, 0.5, 0.2, 0.2]])
    cost = pairwise_cost(torch.zeros(1, 1), boxes, torch.tensor([0]), targets)
    focal = 0.25 * 0.25 * math.log(2) - 0.75 * 0.25 * math.log(2)
    # overlap 0.1 x 0.2 of union 0.06; the enclosing box equals the union
    expected = 2 * focal + 5 * 0.1 - 2 * (0.02 / 0.06)
    assert cost.item() == pytest.approx(expected, abs=1e-5)


def test_the_best_assignment_is_global_not_greedy():
    """Query 0 fits both boxes best; it must take the one that leaves the smaller rest."""
    boxes = torch.tensor([[[0.50, 0.5, 0.2, 0.2], [0.40, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]]])
    targets = torch.tensor([[0.48, 0.5, 0.2, 0.2], [0.52, 0.5, 0.2, 0.2]])
    ((queries, chosen),) = match(torch.zeros(1, 3, 1), boxes, [torch.tensor([0, 0])], [targets])
    assert dict(zip(chosen.tolist(), queries.tolist(), strict=True)) == {0: 1, 1: 0}


def test_the_class_decides_between_equal_boxes():
    boxes = torch.full((1, 2, 4), 0.5)
    logits = torch.tensor([[[-3.0, 3.0], [3.0, -3.0]]])
    ((queries, chosen),) = match(logits, boxes, [torch.tensor([0, 1])], [torch.full((2, 4), 0.5)])
    assert dict(zip(chosen.tolist(), queries.tolist(), strict=True)) == {0: 1, 1: 0}


def test_images_without_boxes_match_nothing():
    matches = match(
        torch.zeros(2, 3, 1), torch.rand(2, 3, 4), [torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 4)] * 2
    )
    assert [len(queries) for queries, _ in matches] == [0, 0]
