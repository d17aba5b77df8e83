import pytest
import torch

from fx_monai.errors import ConfigError
from fx_monai.models.config import SegmentationConfig
from fx_monai.models.upernet import BatchNorm, UPerNetDecoder, UPerNetHead

CHANNELS = (16, 32, 64, 128)


def maps(batch, side):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, c, side // s, side // s, generator=generator)
        for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def build(norm="group", width=16):
    torch.manual_seed(0)
    return UPerNetDecoder(CHANNELS, SegmentationConfig(width=width, decoder="upernet", norm=norm))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_batch_of_one_trains(norm):
    decoder, head = build(norm).train(), UPerNetHead(16, 3)
    fused = decoder(maps(1, 64))
    assert fused.shape == (1, 16, 16, 16)
    logits = head(fused, (64, 64))
    assert logits.shape == (1, 3, 64, 64)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize("width", [16, 32])
def test_every_level_reaches_the_output(width):
    levels = [m.requires_grad_() for m in maps(2, 64)]
    build(width=width)(levels).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in levels)


def test_batch_norm_of_one_image_is_that_of_evaluation():
    norm = BatchNorm(4)
    norm(torch.randn(8, 4, 5, 5) * 3 + 1)
    before = norm.running_mean.clone()
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(norm(x), norm.eval()(x))
    assert torch.equal(norm.running_mean, before)
    two = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(norm.train()(two).mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_parameters_on_swin_b_are_those_of_the_paper():
    decoder = UPerNetDecoder((128, 256, 512, 1024), SegmentationConfig(width=128, decoder="upernet"))
    assert sum(p.numel() for p in decoder.parameters()) / 1e6 == pytest.approx(20.9, abs=0.05)


def test_batch_norm_is_for_imported_weights_only():
    with pytest.raises(ConfigError, match="'batch' with the decoder 'light'"):
        SegmentationConfig(norm="batch")
