import pytest
import torch

from fx_monai.errors import ConfigError
from fx_monai.models.config import SegmentationConfig
from fx_monai.models.segmentation import SegmentationDecoder, SegmentationHead


def maps(batch, side, channels=(4, 6, 8, 10)):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, c, side // s, side // s, generator=generator)
        for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_shapes_for_a_batch_of_one_in_training():
    decoder, head = (
        SegmentationDecoder((4, 6, 8, 10), SegmentationConfig(width=16)).train(),
        SegmentationHead(16, 3).train(),
    )
    fused = decoder(maps(1, 64))
    assert fused.shape == (1, 16, 16, 16)
    assert head(fused, (64, 64)).shape == (1, 3, 64, 64)


def test_images_of_a_batch_do_not_touch_each_other():
    decoder = SegmentationDecoder((4, 6, 8, 10), SegmentationConfig(width=16)).train()
    both = maps(2, 64)
    alone = decoder([m[:1] for m in both])
    torch.testing.assert_close(decoder(both)[:1], alone)


def test_every_level_reaches_the_output():
    decoder = SegmentationDecoder((4, 6, 8, 10), SegmentationConfig(width=16))
    levels = [m.requires_grad_() for m in maps(1, 64)]
    decoder(levels).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in levels)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_width_must_leave_two_channels_to_a_group():
    with pytest.raises(ConfigError, match="multiple of 16"):
        SegmentationConfig(width=24)
