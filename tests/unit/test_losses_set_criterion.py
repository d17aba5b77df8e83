import math

import pytest
import torch

from fx_monai.losses.set_criterion import set_criterion, varifocal_loss
from fx_monai.models.localization_memory import Memory
from fx_monai.ops.box_targets import BoxTargets

SHAPES = ((4, 4), (2, 2))


def predictions(batch=2, classes=2):
    generator = torch.Generator().manual_seed(0)
    memory = Memory(torch.zeros(1, 20, 8), SHAPES)
    places = {"proposal_centres": memory.centres(), "proposal_spacing": memory.spacing()}
    tensors = {
        "logits": torch.randn(3, batch, 5, classes, generator=generator),
        "boxes": torch.rand(3, batch, 5, 4, generator=generator) * 0.4 + 0.2,
        "proposal_logits": torch.randn(batch, 20, classes, generator=generator),
        "proposal_boxes": torch.cat((memory.centres(), torch.full((20, 2), 0.3)), dim=1).expand(batch, -1, -1).clone(),
    }
    return {name: value.requires_grad_() for name, value in tensors.items()} | places


def targets(labels, boxes, annotated):
    return BoxTargets(
        [torch.tensor(x, dtype=torch.int64) for x in labels],
        [torch.tensor(x, dtype=torch.float32).view(-1, 4) for x in boxes],
        torch.tensor(annotated),
    )


def backward(found):
    sum(found.values()).backward()


BOX = [0.5, 0.5, 0.3, 0.3]


def test_varifocal_by_hand():
    logits = torch.tensor([[[0.0, 0.0, 0.0]]])
    quality = torch.tensor([[[0.8, 0.0, 0.0]]])
    share = torch.tensor([[[0.5, 1.0, 1.0]]])
    # positive: weight 0.8 * 0.5, cross-entropy log 2; negative: weight 0.75 * 0.25; the third class was not looked for
    loss = varifocal_loss(logits, quality, share, torch.tensor([[True, True, False]]))
    assert loss.item() == pytest.approx((0.4 + 0.75 * 0.25) * math.log(2))


def test_perfect_prediction_costs_nothing():
    output = predictions(batch=1)
    with torch.no_grad():
        output["logits"].fill_(-40)
        output["logits"][:, 0, 1, 0] = 40
        output["boxes"][:, 0, 1] = torch.tensor(BOX)
        output["proposal_logits"].fill_(-40)
        output["proposal_logits"][0, :, 0] = 40
        output["proposal_boxes"][:] = torch.tensor(BOX)
    parts = set_criterion(output, targets([[0]], [[BOX]], [[True, True]]))
    assert parts["class_loss"].item() == pytest.approx(0, abs=1e-4)
    assert parts["box_loss"].item() == pytest.approx(0, abs=1e-4)


def test_image_without_boxes_teaches_only_absence():
    output = predictions()
    backward(set_criterion(output, targets([[], []], [[], []], [[True, True]] * 2)))
    assert (output["logits"].grad > 0).all()
    assert (output["proposal_logits"].grad > 0).all()
    assert not output["boxes"].grad.any()
    assert not output["proposal_boxes"].grad.any()


def test_unannotated_classes_and_images_have_exactly_no_gradient():
    output = predictions()
    # image 0: class 1 was not looked for, and its stray box counts for nothing; image 1: nothing was looked for
    backward(set_criterion(output, targets([[0, 1], [0]], [[BOX, BOX], [BOX]], [[True, False], [False, False]])))
    for name in ("logits", "proposal_logits"):
        gradient = output[name].grad.view(-1, *output[name].shape[-3:])
        assert gradient[:, 0, :, 0].abs().sum() > 0
        assert not gradient[:, 0, :, 1].any()
        assert not gradient[:, 1].any()
    assert not output["boxes"].grad[:, 1].any()
    assert not output["proposal_boxes"].grad[1].any()


def test_more_boxes_than_queries_are_survived():
    output = predictions(batch=1)
    parts = set_criterion(output, targets([[0] * 9], [[BOX] * 9], [[True, True]]))
    assert all(torch.isfinite(part) for part in parts.values())


def test_loss_goes_down_towards_the_box():
    output = predictions(batch=1)
    wanted = targets([[0]], [[BOX]], [[True, True]])
    optimiser = torch.optim.Adam([value for value in output.values() if value.requires_grad], lr=0.05)
    first = sum(set_criterion(output, wanted).values()).item()
    for _ in range(60):
        optimiser.zero_grad()
        loss = sum(set_criterion(output, wanted).values())
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.2 * first
