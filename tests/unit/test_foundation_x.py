import copy
import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.losses.consistency import consistency_loss
from fx_monai.losses.task_loss import task_loss
from fx_monai.models.card import unpack
from fx_monai.models.config import BackboneConfig, LocalizationConfig, ModelConfig, ProjectorConfig, SegmentationConfig
from fx_monai.models.foundation_x import FoundationX, groups_of
from fx_monai.types import Kind, Mode, Task, TaskSpec

C, L, S = Kind.CLASSIFICATION, Kind.LOCALIZATION, Kind.SEGMENTATION
SIDE = 64
CONFIG = ModelConfig(
    backbone=BackboneConfig(pretrained="none"),
    localization=LocalizationConfig(width=16, num_queries=12, heads=2, points=2, feedforward=16),
    segmentation=SegmentationConfig(width=16),
    image_size=SIDE,
)
SPECS = [
    TaskSpec(Task("a", C), ("x", "y")),
    TaskSpec(Task("a", L), ("x", "y")),
    TaskSpec(Task("a", S), ("p", "q", "r")),
    TaskSpec(Task("b", C), ("u", "v", "w"), exclusive=True),
    TaskSpec(Task("b", L), ("x",)),
    TaskSpec(Task("b", S), ("p",)),
]


def build(specs=SPECS, **options):
    torch.manual_seed(0)
    return FoundationX(CONFIG, specs, **options)


@pytest.fixture
def network():
    return build()


def batch_of(spec, size=2, *, boxes=True):
    classes = len(spec.classes)
    generator = torch.Generator().manual_seed(1)
    found = [torch.tensor([[8.0, 8, 40, 40], [30, 20, 60, 50]]) if boxes else torch.zeros(0, 4)] * size
    labels = torch.zeros(size, classes)
    labels[:, 0] = 1
    return {
        "image": torch.rand(size, 1, SIDE, SIDE, generator=generator),
        "labels": labels,
        "boxes": found,
        "box_labels": [torch.zeros(len(b), dtype=torch.int64) for b in found],
        "boxes_annotated": torch.ones(size, classes, dtype=torch.bool),
        "masks": torch.randint(0, 2, (size, classes, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        "masks_annotated": torch.ones(size, classes, dtype=torch.bool),
    }


def step(network, spec, batch, mode):
    trainable = groups_of(spec.task, mode, network.module_groups())
    for name, module in network.module_groups().items():
        module.train(name in trainable).requires_grad_(name in trainable)
    output = network.forward_task(batch["image"], spec.task, trunk_grad=mode is Mode.RELEASE)
    loss, parts = task_loss(spec, output, batch)
    torch.testing.assert_close(loss, sum(parts.values()))
    loss.backward()
    return loss


def nudge_zero_layers(network):
    """Leave the zero initialisation, behind which no gradient passes in the very first step."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)


def test_module_groups_are_a_partition(network):
    groups = network.module_groups()
    assert set(groups) == {"backbone", "loc_encoder", "seg_decoder"} | {
        f"{part}.{dataset}"
        for part, dataset in itertools.product(("cls_head", "loc_decoder", "loc_head", "seg_head"), "ab")
    }
    for tensors in (lambda m: m.parameters(), lambda m: m.buffers()):
        grouped = [id(t) for group in groups.values() for t in tensors(group)]
        assert len(grouped) == len(set(grouped))
        assert set(grouped) == {id(t) for t in tensors(network)}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.task.kind)
def test_gradients_reach_exactly_the_groups_of_the_phase(spec, mode, size):
    network = build()
    nudge_zero_layers(network)
    loss = step(network, spec, batch_of(spec, size), mode)
    assert 0.05 < loss.item() < 20
    trainable = groups_of(spec.task, mode, network.module_groups())
    for name, group in network.module_groups().items():
        reached = {n for n, p in group.named_parameters() if p.grad is not None}
        assert reached == ({n for n, _ in group.named_parameters()} if name in trainable else set()), name
        if name in trainable and size == 2:
            silent = {n for n, p in group.named_parameters() if not p.grad.any()}
            # a key bias moves all attention weights alike; deeper backbone blocks may be dead at random weights
            assert not {n for n in silent if "in_proj_bias" not in n} or name == "backbone", (name, silent)


def test_lock_runs_the_trunk_without_a_graph(network):
    output = network.forward_task(torch.rand(1, 1, SIDE, SIDE), SPECS[1].task, trunk_grad=False)
    assert not any(feature.requires_grad for feature in output.features.values())
    assert output.predictions["logits"].requires_grad


def test_batch_without_any_box_trains_every_parameter_of_the_phase(network):
    nudge_zero_layers(network)
    step(network, SPECS[1], batch_of(SPECS[1], boxes=False), Mode.RELEASE)
    for name in groups_of(SPECS[1].task, Mode.RELEASE, network.module_groups()):
        assert all(p.grad is not None for p in network.module_groups()[name].parameters())


@pytest.mark.parametrize("spec", SPECS[:4], ids=lambda spec: str(spec.task))
def test_what_nobody_annotated_has_exactly_no_gradient(network, spec):
    batch = batch_of(spec)
    batch["labels"].fill_(float("nan"))
    batch["boxes_annotated"].fill_(False)
    batch["masks_annotated"].fill_(False)
    assert step(network, spec, batch, Mode.RELEASE).item() == 0
    assert not any(p.grad.any() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", list(Kind))
def test_consistency_reaches_the_student_and_ends_at_the_teacher(network, kind):
    spec = next(spec for spec in SPECS if spec.task.kind is kind)
    teacher = copy.deepcopy(network.trunk).eval()
    network.eval()
    image = torch.rand(1, 1, SIDE, SIDE)
    student = network.forward_task(image, spec.task).features
    same = consistency_loss(student, teacher.features(image, kind))
    assert same.item() == pytest.approx(0, abs=1e-6)
    expected = {"backbone", *({L: ["loc_memory"], S: ["seg_fused"]}.get(kind, []))}
    assert set(student) == expected
    consistency_loss(student, teacher.features(image * 0.5, kind)).backward()
    assert network.trunk.backbone.net.conv_stem.weight.grad.any()
    assert all(p.grad is None for p in teacher.parameters())


def test_predictions(network):
    network.eval()
    image = torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad():
        everything = network.predict_tasks(image)
        one = network.predict_tasks(image, [SPECS[3].task])
    assert list(everything) == [spec.task for spec in SPECS]
    assert list(one) == [SPECS[3].task]
    torch.testing.assert_close(one[SPECS[3].task]["probs"].sum(-1), torch.ones(2))
    torch.testing.assert_close(everything[SPECS[0].task]["probs"], everything[SPECS[0].task]["logits"].sigmoid())
    found = everything[SPECS[1].task]
    assert found["boxes_xyxy"].shape == (2, 12, 4)
    assert found["scores"].shape == (2, 12, 2)
    assert ((found["boxes_xyxy"] >= 0) & (found["boxes_xyxy"] <= SIDE)).all()
    assert everything[SPECS[2].task]["logits"].shape == (2, 3, SIDE, SIDE)


def count_calls(network):
    calls = Counter()
    for name, module in network.module_groups().items():
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    return calls


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: str(spec.task))
def test_a_phase_computes_only_its_own_branch(network, spec, mode):
    calls = count_calls(network)
    network.forward_task(torch.rand(1, 1, SIDE, SIDE), spec.task, trunk_grad=mode is Mode.RELEASE)
    branch = groups_of(spec.task, Mode.RELEASE, network.module_groups())
    # the localization head is read by the decoder, part by part
    assert calls == Counter(name for name in branch if not name.startswith("loc_head"))


@pytest.mark.parametrize("count", range(1, len(SPECS) + 1))
def test_any_subset_of_tasks_takes_one_pass_through_the_shared_parts(network, count):
    calls = count_calls(network)
    chosen = [spec.task for spec in SPECS[-count:]]
    network.predict_tasks(torch.rand(1, 1, SIDE, SIDE), chosen)
    branches = [groups_of(task, Mode.RELEASE, network.module_groups()) for task in chosen]
    expected = {name for branch in branches for name in branch if not name.startswith("loc_head")}
    assert calls == Counter(expected)


def test_sides_that_are_no_multiple_of_32(network):
    network.eval()
    image = torch.rand(1, 1, SIDE, SIDE)
    with torch.no_grad():
        output = network.predict_tasks(image[..., :50, :37])
        filled = torch.full_like(image, 0.5)
        filled[..., :50, :37] = image[..., :50, :37]
        whole = network.predict_tasks(filled)
    assert output[SPECS[2].task]["logits"].shape == (1, 3, 50, 37)
    torch.testing.assert_close(output[SPECS[2].task]["logits"], whole[SPECS[2].task]["logits"][..., :50, :37])
    boxes, expected = (found[SPECS[1].task]["boxes_xyxy"] for found in (output, whole))
    torch.testing.assert_close(boxes, torch.minimum(expected, torch.tensor([37.0, 50, 37, 50])))


def test_the_projector_is_a_group_released_with_the_backbone():
    torch.manual_seed(0)
    network = FoundationX(replace(CONFIG, projector=ProjectorConfig(width=24, layers=2)), SPECS)
    image = torch.rand(2, 1, SIDE, SIDE)
    assert "projector" in network.module_groups()
    for spec in SPECS[:3]:
        assert "projector" in groups_of(spec.task, Mode.RELEASE, network.module_groups())
        assert "projector" not in groups_of(spec.task, Mode.LOCK, network.module_groups())
    output = network.forward_task(image, SPECS[0].task)
    assert output.features["backbone"].shape == (2, 24)
    assert network.heads["cls_head"]["a"].in_features == 24
    output.features["backbone"].square().sum().backward()
    assert all(p.grad is not None for p in network.trunk.projector.parameters())
    config = unpack(network.get_extra_state(), where="test")[0]
    assert config.projector == network.config.projector


@pytest.mark.parametrize(
    ("specs", "primary", "shape"),
    [
        (SPECS, None, (1, 3, SIDE, SIDE)),
        (SPECS, Task("b", S), (1, 1, SIDE, SIDE)),
        (SPECS[:2], None, (1, 2)),
        (SPECS[4:5], None, (1, 12, 1)),
    ],
)
def test_forward_returns_the_primary_logits(specs, primary, shape):
    network = build(specs, primary=primary).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, SIDE, SIDE)).shape == shape


def test_unneeded_trunk_parts_are_not_built():
    assert set(build(SPECS[:1]).module_groups()) == {"backbone", "cls_head.a"}


def test_with_trunk_shares_the_heads_and_leaves_the_network_alone(network):
    teacher = copy.deepcopy(network.trunk)
    torch.nn.init.zeros_(teacher.backbone.net.conv_stem.weight)
    network.train()
    view = network.with_trunk(teacher)
    assert view.trunk is teacher
    assert network.trunk is not teacher
    assert view.heads is network.heads
    assert network.training
    assert not view.training
    assert view.state_dict().keys() == network.state_dict().keys()
    view.eval()
    assert network.trunk.training


def test_a_further_dataset_only_adds_keys(network):
    small = build(SPECS[:3])
    assert small.state_dict().keys() < network.state_dict().keys()
    added = network.state_dict().keys() - small.state_dict().keys()
    assert all(".b." in key for key in added)


def test_state_dict_layout(network):
    prefixes = {".".join(key.split(".")[:2]) for key in network.state_dict()} - {"_extra_state"}
    assert prefixes == {
        "trunk.backbone", "trunk.loc_encoder", "trunk.seg_decoder",
        "heads.cls_head", "heads.loc_decoder", "heads.loc_head", "heads.seg_head",
    }  # fmt: skip


def test_weights_of_other_classes_are_refused(network):
    other = build([TaskSpec(Task("a", C), ("y", "x")), *SPECS[1:]])
    with pytest.raises(CheckpointError, match=r"task a/classification.*classes y, x.*x, y"):
        network.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("specs", "primary", "words"),
    [
        ([], None, "there is no task"),
        ([SPECS[0], SPECS[0]], None, "a/classification is given twice"),
        ([TaskSpec(Task("a", C), ())], None, r"classes of a/classification are \[\]"),
        ([TaskSpec(Task("a", C), ("x", "x"))], None, r"\['x', 'x'\]"),
        ([TaskSpec(Task("a.b", C), ("x",))], None, "called 'a.b'"),
        ([TaskSpec(Task("train", C), ("x",))], None, "called 'train'"),
        (SPECS[:1], SPECS[2].task, "primary task a/segmentation"),
    ],
)
def test_refusals(specs, primary, words):
    with pytest.raises(ConfigError, match=words):
        build(specs, primary=primary)


def test_more_queries_than_tokens_are_refused_before_anything_runs():
    with pytest.raises(ConfigError, match="100 queries, but the input has 84 memory tokens"):
        FoundationX(ModelConfig(image_size=64), SPECS[1:2])


def test_image_size_must_fit_the_strides():
    with pytest.raises(ConfigError, match="200"):
        ModelConfig(image_size=200)
