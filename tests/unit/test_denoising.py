import pytest
import torch
from torchvision.ops import box_convert

from fx_monai.losses import set_criterion as module
from fx_monai.losses.set_criterion import set_criterion
from fx_monai.models.config import LocalizationConfig
from fx_monai.models.denoising import NOTHING, PADDING, DenoisingQueries, make_denoising_queries
from fx_monai.models.localization_memory import Memory
from fx_monai.ops.box_targets import BoxTargets


def targets(counts, classes=4, annotated=True):
    generator = torch.Generator().manual_seed(0)
    return BoxTargets(
        [torch.randint(0, classes, (n,), generator=generator) for n in counts],
        [torch.rand(n, 4, generator=generator) * 0.2 + 0.4 for n in counts],
        torch.full((len(counts), classes), annotated),
    )


def test_groups_show_every_box_near_and_far():
    wanted = targets((2, 1, 0))
    config = LocalizationConfig(denoising_queries=5, label_noise=0, box_noise=0.4)
    found = make_denoising_queries(wanted, config)
    # 5 // 2 = 2 groups of 2 near and 2 far
    assert found.groups == 2
    assert found.target[0].tolist() == [0, 1, NOTHING, NOTHING] * 2
    assert found.target[1].tolist() == [0, PADDING, NOTHING, PADDING] * 2
    assert found.target[2].tolist() == [PADDING] * 8
    assert found.labels[0].tolist() == wanted.labels[0].tolist() * 4


def test_boxes_move_as_far_as_they_should():
    wanted = targets((3,))
    config = LocalizationConfig(denoising_queries=300, box_noise=0.4)
    found = make_denoising_queries(wanted, config)
    box = wanted.boxes[0].repeat(200, 1)
    moved = (box_convert(found.boxes[0], "cxcywh", "xyxy") - box_convert(box, "cxcywh", "xyxy")).abs()
    # in units of 0.4 half sides
    moved = moved / (box[:, 2:].repeat(1, 2) / 2 * 0.4)
    near, far = moved[found.target[0] >= 0], moved[found.target[0] == NOTHING]
    assert near.max() < 1 + 1e-4
    assert near.mean() == pytest.approx(0.5, abs=0.05)
    assert far.min() > 1 - 1e-4
    assert far.max() < 2 + 1e-4


def test_boxes_stay_boxes_inside_the_image_at_any_noise():
    wanted = BoxTargets([torch.zeros(2, dtype=torch.int64)], [torch.tensor([[0.05, 0.9, 0.1, 0.2], [0.5, 0.5, 1, 1]])],
                        torch.ones(1, 1, dtype=torch.bool))  # fmt: skip
    found = make_denoising_queries(wanted, LocalizationConfig(denoising_queries=200, box_noise=1.0))
    corners = box_convert(found.boxes[0], "cxcywh", "xyxy")
    assert corners.min() >= -1e-6
    assert corners.max() <= 1 + 1e-6
    assert (found.boxes[..., 2:] >= 0).all()


def test_half_of_the_label_noise_is_mislabelled_and_always_with_another_class():
    wanted = targets((4,))
    found = make_denoising_queries(wanted, LocalizationConfig(denoising_queries=2000, label_noise=0.5))
    wrong = found.labels[0] != wanted.labels[0].repeat(1000)
    assert wrong.float().mean() == pytest.approx(0.25, abs=0.03)
    single = targets((4,), classes=1)
    assert not make_denoising_queries(single, LocalizationConfig(denoising_queries=20)).labels.any()


def test_boxes_of_classes_that_nobody_looked_for_are_not_shown():
    found = make_denoising_queries(targets((3, 2), annotated=False), LocalizationConfig(denoising_queries=10))
    assert found.labels.shape == (2, 0)


def test_who_sees_whom():
    """Two matching queries, then two groups of two."""
    queries = DenoisingQueries(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, 4), torch.zeros(1, 4), groups=2)
    seen = ~queries.blocked(2)
    assert seen.int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 1],
        [1, 1, 0, 0, 1, 1],
    ]


def one_group():
    """Return what is there in two images, one box in the first, and predictions with a near and a far query of it."""
    memory = Memory(torch.zeros(2, 4, 8), ((2, 2),))
    return targets((1, 0), classes=2), {
        "logits": torch.zeros(1, 2, 3, 2),
        "boxes": torch.full((1, 2, 3, 4), 0.5),
        "proposal_logits": torch.zeros(2, 4, 2),
        "proposal_boxes": torch.full((2, 4, 4), 0.5),
        "proposal_centres": memory.centres(),
        "proposal_spacing": memory.spacing(),
        "denoising_logits": torch.zeros(1, 2, 2, 2, requires_grad=True),
        "denoising_boxes": torch.full((1, 2, 2, 4), 0.6, requires_grad=True),
        "denoising_target": torch.tensor([[0, NOTHING], [PADDING, PADDING]]),
    }


def test_a_box_counts_once_in_any_number_of_groups(monkeypatch):
    """Processes have as many groups as their own images have room for, and give the same to the sums of all."""
    given = []
    monkeypatch.setattr(module, "global_sum", lambda own: given.append(own) or own)
    wanted, output = one_group()
    parts = {name: output[f"denoising_{name}"] for name in ("logits", "boxes", "target")}
    thrice = {f"denoising_{name}": torch.cat([part] * 3, dim=min(2, part.ndim - 1)) for name, part in parts.items()}
    for own in ({}, thrice):
        set_criterion({**output, **own}, wanted)
    torch.testing.assert_close(given[1], given[0])


def test_loss_restores_near_queries_silences_far_ones_and_skips_padding():
    wanted, output = one_group()
    set_criterion(output, wanted)["denoising_loss"].backward()
    logits, boxes = output["denoising_logits"].grad[0], output["denoising_boxes"].grad[0]
    label = wanted.labels[0].item()
    assert logits[0, 0, label] != 0
    assert (logits[0, 1] > 0).all()
    assert not logits[1].any()
    assert boxes[0, 0].any()
    assert not boxes[0, 1].any()
    assert not boxes[1].any()
