"""The widths of plain vision transformers: SAM's encoder, and EfficientTAM's and EfficientSAM's.

Norms and biases of the neck, whose map has the width that heads read, are never cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidseg.compression.slimming.widths import Scaled, Use, Width
from vidseg.trackers.backbones.plain_vit import PlainViT
from vidseg.trackers.backbones.sam_vit import SamViT


def heads_of(block: nn.Module) -> int:
    """The heads of a block's attention."""
    heads: Any = block.get_submodule("attn").heads
    return int(heads)


def inner_widths(block: nn.Module) -> tuple[int, int]:
    """Widths inside a block: of queries, keys and values, and of the hidden layer of its perceptron."""
    attention, hidden = (block.get_parameter(f"{layer}.weight") for layer in ("attn.proj", "mlp.layers.1"))
    return attention.shape[1], hidden.shape[1]


def qkv_places(inner: int, of_unit_up: Tensor) -> Tensor:
    """Rows of a projection to queries, keys and values: the same channels of all three. U x 3P."""
    return torch.cat([of_unit_up + third * inner for third in range(3)], dim=1)


def attention_width(
    layer: str, units_up: Tensor, inner: int, *, groups: int = 1, stage: int | None = None
) -> Width:
    """The inner channels of an attention layer named as in all our vision transformers.

    Args:
        layer: its name.
        units_up: U x P, channels of each unit; queries, keys and values keep the same ones.
        inner: how many channels there are.
        groups: see `Width.groups`.
    """
    uses = (
        Use(f"{layer}.qkv.weight", 0, qkv_places(inner, units_up)),
        Use(f"{layer}.qkv.bias", 0, qkv_places(inner, units_up)),
        Use(f"{layer}.proj.weight", 1, units_up),
    )
    return Width(
        "bottleneck",
        "attention",
        len(units_up),
        uses,
        stage=stage,
        groups=groups,
        channels_per_unit=units_up.shape[1],
        scaled=tuple(Scaled(f"{layer}.qkv.{each}", 0.5, first=inner) for each in ("weight", "bias")),
    )


def perceptron_width(layers: str, units: int, heads: int, stage: int | None = None) -> Width:
    """The hidden channels of a block's perceptron."""
    uses = (
        Use(f"{layers}.0.weight", 0),
        Use(f"{layers}.0.bias", 0),
        Use(f"{layers}.1.weight", 1),
    )
    return Width("bottleneck", "mlp", units, uses, stage=stage, multiple=heads)


def block_uses(block: str) -> list[Use]:
    """Where a block of a vision transformer reads and writes the channels of its residual stream."""
    return [
        *(Use(f"{block}.norm1.{each}", 0) for each in ("weight", "bias")),
        Use(f"{block}.attn.qkv.weight", 1),
        *written_uses(block),
    ]


def written_uses(block: str) -> list[Use]:
    """Those of `block_uses` without what comes in, which a block that pools has in another width."""
    return [
        *(Use(f"{block}.attn.proj.{each}", 0) for each in ("weight", "bias")),
        *(Use(f"{block}.norm2.{each}", 0) for each in ("weight", "bias")),
        Use(f"{block}.mlp.layers.0.weight", 1),
        *(Use(f"{block}.mlp.layers.1.{each}", 0) for each in ("weight", "bias")),
    ]


def vit_widths(trunk: SamViT | PlainViT, prefix: str, neck: str) -> list[Width]:
    """The widths of a plain vision transformer.

    Args:
        prefix: what stands before the names of its weights.
        neck: the name of the neck's weight that reads its map.
    """
    heads = heads_of(trunk.blocks[0])
    embedding = [
        *(Use(f"{prefix}patch_embed.proj.{each}", 0) for each in ("weight", "bias")),
        Use(f"{prefix}pos_embed", trunk.pos_embed.dim() - 1),
        Use(neck, 1),
    ]
    are_alike = len({inner_widths(block) for block in trunk.blocks}) == 1
    widths: list[Width] = []
    for number, block in enumerate(trunk.blocks):
        name = f"{prefix}blocks.{number}"
        embedding += block_uses(name)
        inner, hidden = inner_widths(block)
        attention = _attention(trunk, f"{name}.attn", inner, heads)
        place = None if are_alike else number
        widths += [attention, perceptron_width(f"{name}.mlp.layers", hidden, heads, place)]
    channels = trunk.channels[0]
    return [Width("embedding", "channels", channels, tuple(embedding), multiple=heads), *widths]


def _attention(trunk: SamViT | PlainViT, name: str, inner: int, heads: int) -> Width:
    channels = torch.arange(inner)
    if isinstance(trunk, PlainViT):
        return attention_width(name, channels[:, None], inner, groups=heads)
    # All heads share the embeddings of relative positions, so they keep the same of their channels.
    width = attention_width(name, channels.view(heads, -1).T, inner)
    positions = [f"{name}.rel_pos_{axis}" for axis in "hw"]
    # Positions multiply queries that are not divided by the root of the width, and must not feel the change.
    return replace(
        width,
        uses=(*width.uses, *(Use(each, 1) for each in positions)),
        scaled=(*width.scaled, *(Scaled(each, -0.5) for each in positions)),
    )
