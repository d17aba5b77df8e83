import pytest
import torch

from fx_monai.models.config import LocalizationConfig
from fx_monai.models.localization import build_decoder, build_encoder, build_head
from fx_monai.models.localization_layers import refine
from fx_monai.models.localization_light import select_distinct

CONFIG = LocalizationConfig(width=16, num_queries=12, heads=2, points=2, feedforward=16)


def maps(batch=1, side=64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, side // s, side // s, generator=generator) for c, s in ((4, 8), (6, 16), (8, 32))]


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    return build_encoder((4, 6, 8), CONFIG), build_decoder(CONFIG), build_head(CONFIG, 3)


def test_memory_holds_all_tokens_in_order(parts):
    memory = parts[0](maps())
    assert memory.tokens.shape == (1, 64 + 16 + 4, 16)
    assert memory.shapes == ((8, 8), (4, 4), (2, 2))
    assert memory.levels().bincount().tolist() == [64, 16, 4]
    centres = memory.centres()
    assert centres[0].tolist() == [1 / 16, 1 / 16]
    assert centres[1].tolist() == [3 / 16, 1 / 16]  # x first
    assert centres[-1].tolist() == [0.75, 0.75]


def test_every_level_reaches_every_level(parts):
    levels = [m.requires_grad_() for m in maps()]
    memory = parts[0](levels)
    for level in range(3):
        gradients = torch.autograd.grad(
            memory.tokens[:, memory.levels() == level].square().sum(), levels, retain_graph=True
        )
        assert all(g.abs().sum() > 0 for g in gradients)


def test_outputs_begin_at_the_proposals(parts):
    """Zero-initialised outputs: every layer repeats the selected proposals, boxes at their priors."""
    encoder, decoder, head = parts
    memory = encoder(maps(2))
    out = decoder(memory, head)
    assert out["logits"].shape == (3, 2, 12, 3)
    assert out["boxes"].shape == (3, 2, 12, 4)
    best = select_distinct(out["proposal_logits"], out["proposal_boxes"], 12)
    for image in range(2):
        torch.testing.assert_close(out["logits"][2, image], out["proposal_logits"][image, best[image]])
        torch.testing.assert_close(out["boxes"][2, image], out["proposal_boxes"][image, best[image]])
    torch.testing.assert_close(out["proposal_boxes"][0, :, :2], memory.centres(), atol=1e-5, rtol=0)
    sides = out["proposal_boxes"][0, :, 2]
    torch.testing.assert_close(sides[0] * 4, sides[-1])
    assert out["proposal_logits"].sigmoid().mean().item() < 0.1


def test_gradients_end_between_layers(parts):
    encoder, decoder, head = parts
    out = decoder(encoder(maps()), head)
    last = out["logits"][2].sum() + out["boxes"][2].sum()
    own = [head.classes[2].weight, head.boxes[2][-1].weight]
    earlier = [head.classes[0].weight, head.boxes[0][-1].weight, head.proposal_class.weight]
    assert all(gradient.any() for gradient in torch.autograd.grad(last, own, retain_graph=True))
    gradients = torch.autograd.grad(last, earlier, allow_unused=True)
    assert not any(gradient is not None and gradient.any() for gradient in gradients)


def test_queries_show_different_objects_before_repetitions():
    boxes = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.31, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.1, 0.9, 0.1, 0.1]]])
    logits = torch.tensor([[[3.0, 0.0], [0.0, 2.0], [1.0, 0.0], [-9.0, -9.0]]])
    assert select_distinct(logits, boxes, 3).tolist() == [[0, 2, 3]]
    assert select_distinct(logits, boxes, 4).tolist() == [[0, 2, 3, 1]]


def test_refine_keeps_boxes_inside_and_zero_changes_nothing():
    boxes = torch.tensor([[0.3, 0.9, 0.1, 0.5]])
    torch.testing.assert_close(refine(boxes, torch.zeros(1, 4)), boxes)
    moved = refine(boxes, torch.tensor([[50.0, -50.0, 3.0, 0.0]]))
    assert ((moved >= 0) & (moved <= 1)).all()
