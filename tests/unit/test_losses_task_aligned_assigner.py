import pytest
import torch

from fx_monai.losses.task_aligned_assigner import assign

CENTRES = torch.tensor([[x / 4 + 0.125, y / 4 + 0.125] for y in range(4) for x in range(4)])


def boxes_of(side):
    return torch.cat((CENTRES, torch.full((16, 2), side)), dim=1)


def test_tokens_inside_a_box_learn_it_and_the_best_one_fully():
    target = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    boxes = boxes_of(0.25)
    boxes[5] = target[0]
    positives, chosen, quality = assign(torch.zeros(16, 1), boxes, torch.tensor([0]), target, CENTRES)
    assert positives.tolist() == [0, 1, 4, 5]
    assert chosen.tolist() == [0, 0, 0, 0]
    # the others overlap a quarter: (1/4) ** 6 of the best
    assert quality.tolist() == pytest.approx([0.25**6, 0.25**6, 0.25**6, 1.0], rel=1e-4)


def test_a_box_without_a_token_centre_is_learnt_by_the_nearest():
    target = torch.tensor([[0.17, 0.14, 0.02, 0.02]])
    positives, _, quality = assign(torch.zeros(16, 1), boxes_of(0.1), torch.tensor([0]), target, CENTRES)
    assert positives.tolist() == [0]
    assert quality.item() > 0


def test_a_token_learns_one_box_only_the_one_it_overlaps_most():
    targets = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.3, 0.3]])
    positives, chosen, _ = assign(torch.zeros(16, 2), boxes_of(0.3), torch.tensor([0, 1]), targets, CENTRES)
    assert len(set(positives.tolist())) == len(positives)
    assert set(chosen.tolist()) <= {0, 1}


def test_without_boxes_nothing_is_positive():
    positives, chosen, quality = assign(
        torch.zeros(16, 1), boxes_of(0.2), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), CENTRES
    )
    assert len(positives) == len(chosen) == len(quality) == 0
