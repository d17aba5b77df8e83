"""Cost of a training step of the localization branch, without backbone, on one CPU thread.

    python -m tests.benchmarks.deformable_attention --sides 224 512

1. The encoder's and the decoder's layers of size ``dino`` (6 layers, width 256, feed-forward 2048, 4 levels, 900
   queries) against those of transformers' DeformableDetr, same sizes and inputs. Goal: at most 0.8 of its time.
2. The whole branch with its loss: ``light`` against ``dino``. Goal: at most 0.2.

CPU seconds, the minimum of several steps; the two sides of a ratio take turns in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from fx_monai.losses.set_criterion import set_criterion
from fx_monai.models.config import LocalizationConfig
from fx_monai.models.localization import build_decoder, build_encoder, build_head
from fx_monai.models.localization_dino import DinoDecoder, DinoEncoder
from fx_monai.models.localization_memory import Memory
from fx_monai.ops.box_targets import BoxTargets

CHANNELS = (256, 512, 1024)  # Swin-B
DINO = LocalizationConfig(size="dino")


def shapes_of(side: int) -> tuple[tuple[int, int], ...]:
    return tuple((n, n) for n in (side // 8, side // 16, side // 32, (side // 32 + 1) // 2))


def own_layers(side: int, batch: int) -> dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]]:
    shapes = shapes_of(side)
    tokens = torch.randn(batch, sum(h * w for h, w in shapes), 256, requires_grad=True)
    positions, queries = torch.randn(1, tokens.shape[1], 256), torch.randn(batch, 900, 256)
    references = torch.rand(batch, 900, 4) * 0.5 + 0.25
    encoder, decoder = DinoEncoder(CHANNELS, DINO), DinoDecoder(DINO)
    memory = Memory(tokens, shapes)

    def encode() -> torch.Tensor:
        x = tokens
        for layer in encoder.layers:
            x = layer(x, positions, memory.centres()[None], shapes)
        return x

    def decode() -> torch.Tensor:
        x = queries
        for layer in decoder.layers:
            x = layer(x, queries, references, memory)
        return x

    return {"encoder": (encoder, encode), "decoder": (decoder, decode)}


def their_layers(side: int, batch: int) -> dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]]:
    from transformers import DeformableDetrConfig
    from transformers.models.deformable_detr.modeling_deformable_detr import (
        DeformableDetrDecoder,
        DeformableDetrEncoder,
    )

    config = DeformableDetrConfig(
        d_model=256, encoder_layers=6, decoder_layers=6, encoder_ffn_dim=2048, decoder_ffn_dim=2048,
        encoder_attention_heads=8, decoder_attention_heads=8, num_queries=900, num_feature_levels=4, dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    shapes = shapes_of(side)
    sizes = torch.tensor(shapes)
    start = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
    tokens = torch.randn(batch, int(sizes.prod(1).sum()), 256, requires_grad=True)
    positions, queries = torch.randn(batch, tokens.shape[1], 256), torch.randn(batch, 900, 256)
    references = torch.rand(batch, 900, 4) * 0.5 + 0.25
    common = {
        "spatial_shapes": sizes,
        "spatial_shapes_list": list(shapes),
        "level_start_index": start,
        "valid_ratios": torch.ones(batch, 4, 2),
    }
    encoder, decoder = DeformableDetrEncoder(config), DeformableDetrDecoder(config)

    def encode() -> torch.Tensor:
        return encoder(inputs_embeds=tokens, spatial_position_embeddings=positions, **common).last_hidden_state

    def decode() -> torch.Tensor:
        return decoder(
            inputs_embeds=queries,
            encoder_hidden_states=tokens,
            object_queries_position_embeddings=queries,
            reference_points=references,
            **common,
        ).last_hidden_state

    return {"encoder": (encoder, encode), "decoder": (decoder, decode)}


def whole_branch(size: str, side: int, batch: int) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    config = LocalizationConfig(size=size)
    parts = nn.ModuleList([build_encoder(CHANNELS, config), build_decoder(config), build_head(config, 14)])
    maps = [
        torch.randn(batch, c, side // s, side // s, requires_grad=True)
        for c, s in zip(CHANNELS, (8, 16, 32), strict=True)
    ]
    targets = BoxTargets(
        [torch.arange(3)] * batch, [torch.rand(3, 4) * 0.2 + 0.3] * batch, torch.ones(batch, 14, dtype=torch.bool)
    )
    encoder, decoder, head = parts
    return parts, lambda: sum(set_criterion(decoder(encoder(maps), head, targets), targets).values())


def compare(sides: list[tuple[nn.Module, Callable[[], torch.Tensor]]], repeats: int) -> list[float]:
    """Return the least CPU seconds of a step, forward and backward, of each."""
    best = [float("inf")] * len(sides)
    for _ in range(repeats):
        for index, (module, forward) in enumerate(sides):
            module.train().zero_grad()
            started = time.process_time()
            forward().square().mean().backward()
            best[index] = min(best[index], time.process_time() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sides", nargs="+", type=int, default=[224, 512])
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for side in args.sides:
        own, theirs = own_layers(side, args.batch_size), their_layers(side, args.batch_size)
        for part in own:
            ours, others = compare([own[part], theirs[part]], args.repeats)
            print(f"{side} px {part}: {ours:.2f} s, transformers {others:.2f} s, ratio {ours / others:.2f}", flush=True)
        light, dino = compare([whole_branch(size, side, args.batch_size) for size in ("light", "dino")], args.repeats)
        print(f"{side} px branch: light {light:.2f} s, dino {dino:.2f} s, ratio {light / dino:.2f}", flush=True)


if __name__ == "__main__":
    main()
