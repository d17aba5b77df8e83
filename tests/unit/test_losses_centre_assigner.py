import pytest
import torch

from fx_monai.losses.centre_assigner import assign
from fx_monai.models.localization_memory import Memory

MEMORY = Memory(torch.zeros(1, 20, 8), ((4, 4), (2, 2)))
CENTRES, SPACING = MEMORY.centres(), MEMORY.spacing()
NEAR_A_CORNER = [0.25, 0.25, 0.5, 0.5]


def boxes_of(side):
    return torch.cat((CENTRES, torch.full((20, 2), side)), dim=1)


def test_spacing_is_that_of_the_level():
    assert SPACING.tolist() == [0.25] * 16 + [0.5] * 4


def test_tokens_inside_a_box_learn_it_with_their_overlap_as_score():
    boxes = boxes_of(0.25)
    boxes[5] = torch.tensor(NEAR_A_CORNER)
    positives, chosen, quality, share = assign(boxes, torch.tensor([NEAR_A_CORNER]), CENTRES, SPACING)
    assert positives.tolist() == [0, 1, 4, 5]
    assert chosen.tolist() == [0, 0, 0, 0]
    assert quality.tolist() == pytest.approx([0.25, 0.25, 0.25, 1.0])
    # a box counts as much as four tokens, and here are four
    assert share.tolist() == [1, 1, 1, 1]


def test_scores_to_reach_have_a_floor():
    boxes = boxes_of(0.001)
    _, _, quality, _ = assign(boxes, torch.tensor([NEAR_A_CORNER]), CENTRES, SPACING)
    assert quality.tolist() == pytest.approx([0.2] * 4)


def test_a_box_without_a_token_centre_is_learnt_by_the_nearest_with_all_its_weight():
    target = torch.tensor([[0.17, 0.14, 0.02, 0.02]])
    positives, _, quality, share = assign(boxes_of(0.1), target, CENTRES, SPACING)
    assert positives.tolist() == [0]
    assert quality.item() > 0
    assert share.item() == 4


def test_a_token_between_two_boxes_learns_the_smaller():
    targets = torch.tensor([NEAR_A_CORNER, [0.125, 0.125, 0.3, 0.3]])
    positives, chosen, _, share = assign(boxes_of(0.3), targets, CENTRES, SPACING)
    assert dict(zip(positives.tolist(), chosen.tolist(), strict=True)) == {0: 1, 1: 0, 4: 0, 5: 0}
    assert share.tolist() == pytest.approx([4, 4 / 3, 4 / 3, 4 / 3])


def test_tokens_far_from_the_centre_of_a_large_box_dont_learn_it():
    side = 32
    memory = Memory(torch.zeros(1, side * side, 8), ((side, side),))
    boxes = torch.cat((memory.centres(), torch.full((side * side, 2), 0.5)), dim=1)
    positives, _, _, share = assign(boxes, torch.tensor([[0.5, 0.5, 0.9, 0.9]]), memory.centres(), memory.spacing())
    rows, columns = positives // side, positives % side
    assert (rows.min().item(), rows.max().item()) == (columns.min().item(), columns.max().item()) == (14, 17)
    assert share.tolist() == pytest.approx([4 / 16] * 16)


@pytest.mark.parametrize(("longest", "level"), [(0.49, 0), (0.51, 1), (1.0, 1)])
def test_a_box_belongs_to_the_finest_level_that_reaches_its_edges(longest, level):
    shapes = ((32, 32), (16, 16))
    memory = Memory(torch.zeros(1, 32 * 32 + 16 * 16, 8), shapes)
    boxes = torch.cat((memory.centres(), torch.full((len(memory.centres()), 2), 0.3)), dim=1)
    target = torch.tensor([[0.5, 0.5, longest, 0.2]])
    positives, _, _, _ = assign(boxes, target, memory.centres(), memory.spacing())
    assert set(memory.levels()[positives].tolist()) == {level}


def test_without_boxes_nothing_is_positive():
    results = assign(boxes_of(0.2), torch.zeros(0, 4), CENTRES, SPACING)
    assert [len(result) for result in results] == [0, 0, 0, 0]
