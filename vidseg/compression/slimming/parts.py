"""The parts of a model that can be slimmed: a table from classes to the functions that know their widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from vidseg.compression.slimming.feed_forward import feed_forward_widths
from vidseg.compression.slimming.hiera import hiera_widths
from vidseg.compression.slimming.vits import vit_widths
from vidseg.compression.slimming.widths import Kind, Width
from vidseg.errors import ConfigError, unknown
from vidseg.memory.attention import MemoryAttention
from vidseg.trackers.backbones.hiera import Hiera
from vidseg.trackers.backbones.plain_vit import PlainViT
from vidseg.trackers.backbones.sam_vit import SamViT
from vidseg.trackers.backbones.single_scale_neck import SingleScaleNeck
from vidseg.trackers.image_encoder import ImageEncoder, PyramidNeck


@dataclass(frozen=True)
class SlimPart:
    """A part of a model with widths; names of weights and modules are those within the part."""

    module: nn.Module
    entry: str
    """The key in the YAML whose mapping has the widths."""
    widths: list[Width]
    features: Mapping[Kind, list[str]]
    """Modules whose outputs have channels of each kind; distillation compares them."""


def slimmable(model: nn.Module) -> dict[str, SlimPart]:
    """The parts of a model that can be slimmed, by their names in it."""
    parts: dict[str, SlimPart] = {}
    for name, child in model.named_children():
        part = None
        if isinstance(child, ImageEncoder):
            part = _encoder(child)
        elif isinstance(child, MemoryAttention):
            part = _memory_attention(child)
        if part is not None:
            parts[name] = part
    return parts


def part_of(model: nn.Module, name: str, where: str) -> SlimPart:
    """The part with this name.

    Raises:
        ConfigError: the model has no such part, or none at all.
    """
    parts = slimmable(model)
    if not parts:
        raise ConfigError(
            "no part of the model can be slimmed",
            where=where,
            hint="choose a model with a plain vision transformer (SAM, EfficientSAM, EfficientTAM), a Hiera, "
            "or SAM 2's memory attention",
        )
    if name not in parts:
        raise ConfigError(unknown("part", name, parts), where=f"{where}, --parts")
    return parts[name]


def _encoder(encoder: ImageEncoder) -> SlimPart | None:
    trunk, neck = encoder.trunk, encoder.neck
    if isinstance(trunk, (SamViT, PlainViT)) and isinstance(neck, SingleScaleNeck):
        widths = vit_widths(trunk, "trunk.", "neck.convs.0.conv_1x1.weight")
    elif isinstance(trunk, Hiera) and isinstance(neck, PyramidNeck):
        # The neck's convolutions are numbered from coarse to fine.
        necks = [f"neck.convs.{number}.conv.weight" for number in reversed(range(len(neck.convs)))]
        widths = hiera_widths(trunk, "trunk.", necks)
    else:
        return None
    blocks = [f"trunk.blocks.{number}" for number in range(len(trunk.blocks))]
    inside = [f"{block}.{layer}" for block in blocks for layer in ("attn.qkv", "mlp.layers.0")]
    return SlimPart(encoder, "backbone", widths, {"embedding": blocks, "bottleneck": inside})


def _memory_attention(attention: MemoryAttention) -> SlimPart:
    layers = [f"layers.{number}" for number in range(len(attention.layers))]
    return SlimPart(
        attention,
        "memory_attention",
        feed_forward_widths(attention, ""),
        {"embedding": layers, "bottleneck": [f"{layer}.linear1" for layer in layers]},
    )
