"""What every form of the localization branch keeps to: sizes, gradients, denoising queries, unknown annotations."""

import dataclasses

import pytest
import torch

from fx_monai.errors import ConfigError
from fx_monai.losses.set_criterion import set_criterion
from fx_monai.losses.task_loss import LOCALIZATION_AT_START
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.models.localization import build_decoder, build_encoder, build_head, num_tokens
from fx_monai.models.localization_layers import check_queries
from fx_monai.ops.box_targets import BoxTargets
from fx_monai.types import Kind, Mode, Task, TaskSpec

SMALL = {"width": 64, "num_queries": 12, "heads": 4, "points": 2, "feedforward": 32, "decoder_layers": 2}
FORMS = {
    "light": LocalizationConfig(**SMALL),
    "light with denoising and distributions": LocalizationConfig(**SMALL, denoising_queries=6, distribution_bins=8),
    "light, shared decoder": LocalizationConfig(**SMALL, shared_decoder=True, denoising_queries=6),
    "dino": LocalizationConfig(size="dino", encoder_layers=2, **SMALL),
    "dino, shared decoder": LocalizationConfig(size="dino", encoder_layers=1, shared_decoder=True, **SMALL),
    "dino, own refinement": LocalizationConfig(size="dino", encoder_layers=1, own_refinement=True, **SMALL),
}
CHANNELS, CLASSES = (4, 6, 8), 3


@pytest.fixture(params=FORMS)
def config(request):
    return FORMS[request.param]


def build(config):
    torch.manual_seed(0)
    parts = build_encoder(CHANNELS, config), build_decoder(config), build_head(config, CLASSES)
    for part in parts:
        for parameter in part.parameters():
            # no gradient passes behind a layer of zeros in the very first step
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
    return parts


def maps(batch=2, side=128):
    generator = torch.Generator().manual_seed(0)
    sizes = zip(CHANNELS, (8, 16, 32), strict=True)
    return [torch.randn(batch, c, side // stride, side // stride, generator=generator) for c, stride in sizes]


def targets(counts=(2, 1), annotated=True):
    generator = torch.Generator().manual_seed(1)
    return BoxTargets(
        [torch.randint(0, CLASSES, (n,), generator=generator) for n in counts],
        [torch.rand(n, 4, generator=generator) * 0.3 + 0.2 for n in counts],
        torch.full((len(counts), CLASSES), annotated),
    )


def loss_of(parts, wanted):
    encoder, decoder, head = parts
    return sum(set_criterion(decoder(encoder(maps()), head, wanted), wanted).values())


def test_shapes(config):
    encoder, decoder, head = build(config)
    out = decoder(encoder(maps()), head)
    tokens = 256 + 64 + 16 + (4 if config.size == "dino" else 0)
    assert out["logits"].shape == (2, 2, 12, CLASSES)
    assert out["boxes"].shape == (2, 2, 12, 4)
    assert out["proposal_logits"].shape == (2, tokens, CLASSES)
    assert out["proposal_boxes"].shape == (2, tokens, 4)
    assert not any(name.startswith("denoising") for name in out)


@pytest.mark.parametrize("counts", [(2, 1), (3, 0), (0, 0)])
def test_every_parameter_has_a_gradient_with_and_without_boxes(config, counts):
    parts = build(config)
    loss_of(parts, targets(counts)).backward()
    names = [(name, p) for part in parts for name, p in part.named_parameters()]
    assert not [name for name, p in names if p.grad is None]
    assert all(torch.isfinite(p.grad).all() for _, p in names)
    if sum(counts) > 2:
        # a key bias moves all attention weights alike; class embeddings of absent classes may stay
        silent = {name for name, p in names if not p.grad.any()} - {"denoiser.labels.weight"}
        assert not {name for name in silent if "in_proj_bias" not in name}


def test_what_nobody_annotated_teaches_nothing(config):
    parts = build(config)
    loss = loss_of(parts, targets(annotated=False))
    loss.backward()
    assert loss.item() == 0
    assert not any(p.grad.any() for part in parts for p in part.parameters())


def test_annotated_images_without_boxes_teach_absence(config):
    parts = build(config)
    loss = loss_of(parts, targets((0, 0)))
    loss.backward()
    assert loss.item() > 0
    assert parts[2].proposal_class.bias.grad.min() > 0


def test_matching_queries_do_not_depend_on_denoising_queries(config):
    encoder, decoder, head = build(dataclasses.replace(config, denoising_queries=6))
    memory = encoder(maps())
    plain = decoder(memory, head)
    found = decoder(memory, head, targets())
    assert found["denoising_logits"].shape[2] == 12  # 6 // 2 groups of 2 near and 2 far
    for name in ("logits", "boxes", "proposal_logits", "proposal_boxes"):
        torch.testing.assert_close(found[name], plain[name])
    head.eval()
    assert decoder(memory, head, targets()).keys() == plain.keys()


def test_the_loss_begins_near_what_unit_losses_divide_by(config):
    torch.manual_seed(0)
    parts = build_encoder(CHANNELS, config), build_decoder(config), build_head(config, CLASSES)
    assert 0.5 < loss_of(parts, targets()).item() / LOCALIZATION_AT_START < 2.5


@pytest.mark.parametrize("size", ["light", "dino"])
@pytest.mark.parametrize("shared", [False, True])
def test_module_groups_are_a_partition_and_phases_train_theirs(size, shared):
    config = LocalizationConfig(size=size, shared_decoder=shared, encoder_layers=1, denoising_queries=4, **SMALL)
    specs = [TaskSpec(Task(name, Kind.LOCALIZATION), ("x", "y")) for name in "ab"]
    network = FoundationX(ModelConfig(BackboneConfig(pretrained="none"), config, image_size=64), specs)
    groups = network.module_groups()
    decoders = {"loc_decoder"} if shared else {"loc_decoder.a", "loc_decoder.b"}
    assert set(groups) == {"backbone", "loc_encoder", "loc_head.a", "loc_head.b"} | decoders
    for tensors in (lambda m: m.parameters(), lambda m: m.buffers()):
        grouped = [id(t) for group in groups.values() for t in tensors(group)]
        assert sorted(grouped) == sorted({id(t) for t in tensors(network)})
    lock = set(groups_of(specs[0].task, Mode.LOCK, groups))
    release = set(groups_of(specs[0].task, Mode.RELEASE, groups))
    own = {"loc_head.a"} if shared else {"loc_head.a", "loc_decoder.a"}
    assert lock == own
    assert release == own | {"backbone", "loc_encoder"} | (decoders & {"loc_decoder"})
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 12, 2)


def test_sizes_bring_their_values_and_can_be_changed_one_by_one():
    dino = LocalizationConfig(size="dino", num_queries=300)
    assert (dino.width, dino.num_queries, dino.encoder_layers, dino.feedforward) == (256, 300, 6, 2048)
    assert LocalizationConfig(**dataclasses.asdict(dino)) == dino
    assert LocalizationConfig() == LocalizationConfig(size="light")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 20, "heads": 8}, "width"),
        ({"num_queries": 0}, "num_queries"),
        ({"size": "dino", "width": 96}, "width"),
        ({"denoising_queries": -1}, "denoising_queries"),
        ({"box_noise": 2.0}, "box_noise"),
        ({"label_noise": -0.1}, "label_noise"),
        ({"distribution_bins": 5}, "distribution_bins"),
        ({"size": "dino", "distribution_bins": 8}, "distribution_bins"),
        ({"own_refinement": True}, "own_refinement"),
        ({"size": "dino", "own_refinement": True, "decoder_layers": 1}, "own_refinement"),
    ],
)
def test_sizes_that_can_not_be_built_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        LocalizationConfig(**values)


def test_more_queries_than_tokens_are_refused(config):
    dino = LocalizationConfig(size="dino")
    check_queries(dino.num_queries, num_tokens(dino, 224))
    with pytest.raises(ConfigError, match="900 queries, but the input has 765 memory tokens"):
        check_queries(dino.num_queries, num_tokens(dino, 192))
    encoder, decoder, head = build(dataclasses.replace(config, num_queries=400))
    with pytest.raises(ConfigError, match="400 queries, but the input has"):
        decoder(encoder(maps()), head)
