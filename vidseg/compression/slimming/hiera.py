"""The widths of Hiera: each of its stages has its own."""

from __future__ import annotations

import torch

from vidseg.compression.slimming.vits import (
    attention_width,
    block_uses,
    heads_of,
    inner_widths,
    perceptron_width,
    written_uses,
)
from vidseg.compression.slimming.widths import Use, Width
from vidseg.trackers.backbones.hiera import Hiera


def hiera_widths(trunk: Hiera, prefix: str, necks: list[str]) -> list[Width]:
    """The widths of a Hiera.

    Args:
        prefix: what stands before the names of its weights.
        necks: for each stage, the name of the neck's weight that reads its map.
    """
    uses: list[list[Use]] = [[Use(neck, 1)] for neck in necks]
    uses[0] += [
        *(Use(f"{prefix}patch_embed.proj.{each}", 0) for each in ("weight", "bias")),
        Use(f"{prefix}pos_embed", 1),
        Use(f"{prefix}pos_embed_window", 1),
    ]
    stage_heads: dict[int, int] = {}
    widths: list[Width] = []
    stage = 0
    for number, block in enumerate(trunk.blocks):
        name = f"{prefix}blocks.{number}"
        if block.pool:
            uses[stage] += [
                *(Use(f"{name}.norm1.{each}", 0) for each in ("weight", "bias")),
                Use(f"{name}.attn.qkv.weight", 1),
                Use(f"{name}.proj.weight", 1),
            ]
            stage += 1
            uses[stage] += [Use(f"{name}.proj.{each}", 0) for each in ("weight", "bias")]
            uses[stage] += written_uses(name)
        else:
            uses[stage] += block_uses(name)
        heads = stage_heads[stage] = heads_of(block)
        inner, hidden = inner_widths(block)
        channels = torch.arange(inner)[:, None]
        widths.append(attention_width(f"{name}.attn", channels, inner, groups=heads, stage=stage))
        widths.append(perceptron_width(f"{name}.mlp.layers", hidden, heads, stage))
    embeddings = [
        Width(
            "embedding",
            "channels",
            trunk.channels[stage],
            tuple(of_stage),
            stage=stage,
            multiple=stage_heads[stage],
        )
        for stage, of_stage in enumerate(uses)
    ]
    return [*embeddings, *widths]
