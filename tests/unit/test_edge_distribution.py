import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_monai.losses.edge_loss import edge_loss
from fx_monai.models.edge_distribution import bin_values, edge_shifts, move_edges

LIKE = torch.zeros(1, dtype=torch.float64)


def test_bins_by_hand():
    """Eight bins: reach 0.5 and curvature 0.25 give 0.25 * (3 ** (i / 3) - 1), the outermost twice the reach."""
    dense = [0.25 * (3 ** (i / 3) - 1) for i in (1, 2, 3)]
    positive = [*dense, 1.0]
    expected = [*(-v for v in reversed(positive)), 0.0, *positive]
    assert bin_values(8, LIKE).tolist() == pytest.approx(expected)
    assert dense[-1] == pytest.approx(0.5)


def test_even_distribution_moves_nothing():
    boxes = torch.rand(3, 5, 4, dtype=torch.float64) * 0.4 + 0.2
    torch.testing.assert_close(move_edges(boxes, torch.zeros(3, 5, 4, 17, dtype=torch.float64)), boxes)


def test_edges_move_outwards_by_fractions_of_the_side():
    box = torch.tensor([0.5, 0.5, 0.2, 0.4], dtype=torch.float64)
    edges = torch.full((4, 9), -50.0, dtype=torch.float64)
    edges[:, 4] = 50  # no shift
    edges[0] = edges[0].flip(0)
    edges[0, 4], edges[0, 7] = -50, 50  # left edge by 0.5 of the width
    moved = move_edges(box, edges)
    torch.testing.assert_close(moved, torch.tensor([0.45, 0.5, 0.3, 0.4], dtype=torch.float64))


numbers = st.floats(0.1, 0.9)


@settings(max_examples=50, deadline=None)
@given(st.lists(numbers, min_size=8, max_size=8))
def test_shifts_lead_from_box_to_target(values):
    box, target = torch.tensor(values, dtype=torch.float64).split(4)
    shifts = edge_shifts(box, target)
    low = box[:2] - box[2:] * (0.5 + shifts[:2])
    high = box[:2] + box[2:] * (0.5 + shifts[2:])
    torch.testing.assert_close(torch.cat(((low + high) / 2, high - low)), target)


def test_loss_by_hand():
    """A true shift half way between two bins wants both alike: the cross-entropy of an even distribution is log 9."""
    values = bin_values(8, LIKE)
    box = torch.tensor([[0.5, 0.5, 0.2, 0.2]], dtype=torch.float64)
    edges = torch.zeros(1, 4, 9, dtype=torch.float64)
    assert edge_loss(edges, box, box).item() == pytest.approx(math.log(9))
    half = (values[5] + values[6]) / 2
    target = torch.tensor([[0.5, 0.5, 0.2, 0.2]], dtype=torch.float64)
    target[:, 2:] *= 1 + 2 * half
    edges[..., 5:7] = 30
    assert edge_loss(edges, box, target).item() == pytest.approx(math.log(2), abs=1e-6)


def test_learning_the_loss_finds_the_target():
    box = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    target = torch.tensor([[0.55, 0.48, 0.25, 0.16]])
    edges = torch.zeros(1, 4, 17, requires_grad=True)
    optimiser = torch.optim.Adam([edges], lr=0.2)
    for _ in range(150):
        optimiser.zero_grad()
        edge_loss(edges, box, target).sum().backward()
        optimiser.step()
    torch.testing.assert_close(move_edges(box, edges.detach()), target, atol=2e-3, rtol=0)


def test_shifts_beyond_the_bins_count_as_the_outermost():
    box = torch.tensor([[0.5, 0.5, 0.1, 0.1]])
    assert torch.isfinite(edge_loss(torch.zeros(1, 4, 9), box, torch.tensor([[0.5, 0.5, 1.0, 1.0]]))).all()
