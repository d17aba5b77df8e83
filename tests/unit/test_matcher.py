import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from fx_monai.losses.matcher import match, pairwise_cost
from fx_monai.ops.box_targets import BoxTargets


def targets(labels, boxes):
    return BoxTargets(labels, boxes, torch.ones(len(labels), 2, dtype=torch.bool))


def pairs(matches):
    return {box: query for _, query, box in zip(*(x.tolist() for x in matches), strict=True)}


def test_cost_by_hand():
    boxes, wanted = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[0.6, 0.5, 0.2, 0.2]])
    cost = pairwise_cost(torch.zeros(1, 1, 1), boxes[None], torch.tensor([[0]]), wanted[None])
    focal = 0.25 * 0.25 * math.log(2) - 0.75 * 0.25 * math.log(2)
    # overlap 0.1 x 0.2 of union 0.06; the enclosing box equals the union
    expected = 2 * focal + 5 * 0.1 - 2 * (0.02 / 0.06)
    assert cost.item() == pytest.approx(expected, abs=1e-5)


def test_the_best_assignment_is_global_not_greedy():
    """Query 0 fits both boxes best; it must take the one that leaves the smaller rest."""
    boxes = torch.tensor([[[0.50, 0.5, 0.2, 0.2], [0.40, 0.5, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]]])
    wanted = torch.tensor([[0.48, 0.5, 0.2, 0.2], [0.52, 0.5, 0.2, 0.2]])
    matches = match(torch.zeros(1, 1, 3, 1), boxes[None], targets([torch.tensor([0, 0])], [wanted]))
    assert pairs(matches) == {0: 1, 1: 0}


def test_the_class_decides_between_equal_boxes():
    boxes = torch.full((1, 2, 4), 0.5)
    logits = torch.tensor([[[-3.0, 3.0], [3.0, -3.0]]])
    matches = match(logits[None], boxes[None], targets([torch.tensor([0, 1])], [torch.full((2, 4), 0.5)]))
    assert pairs(matches) == {0: 1, 1: 0}


def test_images_without_boxes_match_nothing():
    nothing = targets([torch.zeros(0, dtype=torch.int64)] * 2, [torch.zeros(0, 4)] * 2)
    assert all(len(x) == 0 for x in match(torch.zeros(1, 2, 3, 1), torch.rand(1, 2, 3, 4), nothing))


def test_layers_and_images_are_matched_each_for_itself():
    """Against scipy on one pairwise table after the other, with different numbers of boxes."""
    generator = torch.Generator().manual_seed(3)
    boxes = torch.rand(2, 3, 6, 4, generator=generator) * 0.5 + 0.2
    logits = torch.randn(2, 3, 6, 2, generator=generator)
    counts = (2, 0, 8)  # more boxes than queries in the last image
    wanted = targets(
        [torch.randint(0, 2, (n,), generator=generator) for n in counts],
        [torch.rand(n, 4, generator=generator) * 0.5 + 0.2 for n in counts],
    )
    found = {tuple(x) for x in torch.stack(match(logits, boxes, wanted), dim=1).tolist()}
    expected = set()
    for layer in range(2):
        for image, (labels, truth) in enumerate(zip(wanted.labels, wanted.boxes, strict=True)):
            one = logits[layer, image, None], boxes[layer, image, None], labels[None], truth[None]
            for query, box in zip(*linear_sum_assignment(pairwise_cost(*one)[0].numpy()), strict=True):
                expected.add((layer * 3 + image, int(query), int(box)))
    assert found == expected
    assert len(found) == 2 * (2 + 0 + 6)
