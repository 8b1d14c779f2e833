"""The parts of engine trackers by name: one table for each of four kinds.

A part's settings stand beside the class that they configure. A plug-in adds a row:

    class MySettings(Strict): depth: int = 4
    register_backbone("mine", Part(MySettings, lambda settings: MyBackbone(settings.depth)))

and a YAML may then say `backbone: {name: mine, depth: 8}`. `vidseg.trackers.check_parts` checks that a part
keeps its promises; docs/backbones.md and the pages beside it have an example of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidseg.errors import ConfigError
from vidseg.memory.attention import (
    AttentionSettings,
    MemoryAttention,
    MemoryAttentionLayer,
    MemoryCrossAttention,
    RotaryCrossAttention,
)
from vidseg.memory.bank import RecentFrames
from vidseg.memory.compressor import Compressor, MapPooling, PoolingSettings
from vidseg.memory.perceiver import (
    GlobalPerceiverSettings,
    LatentCrossAttention,
    LatentSettings,
    PerceiverSettings,
    SpatialPerceiver,
)
from vidseg.memory.policies.distractor_aware import DistractorAware
from vidseg.memory.policies.memory_tree import MemoryTree
from vidseg.memory.policies.motion_aware import MotionAware
from vidseg.memory.policies.similarity_pruning import SimilarityPruning
from vidseg.memory.policies.steady_size import SteadySize
from vidseg.memory.pooled_attention import PooledCrossAttention, PooledSettings
from vidseg.memory.widths import CHANNELS, MEMORY_CHANNELS
from vidseg.registry import Registry
from vidseg.trackers.backbones.efficientnet_lite import EfficientNetLite, EfficientNetLiteSettings
from vidseg.trackers.backbones.efficientvit import EfficientViT, EfficientViTSettings
from vidseg.trackers.backbones.fused_repvit import FusedRepViT, FusedRepViTSettings
from vidseg.trackers.backbones.hiera import Hiera, HieraSettings
from vidseg.trackers.backbones.plain_vit import PlainViT, PlainViTSettings
from vidseg.trackers.backbones.repvit import RepViT, RepViTSettings
from vidseg.trackers.backbones.residual import Residual, ResidualSettings
from vidseg.trackers.backbones.resnet import ResNet, ResNetSettings
from vidseg.trackers.backbones.sam_vit import SamViT, SamViTSettings
from vidseg.trackers.backbones.timm_features import TimmFeatures, TimmSettings
from vidseg.trackers.backbones.tiny_vit import TinyViT, TinyViTSettings
from vidseg.validation import Strict, parse


def _itself(settings: Any) -> Any:
    return settings


@dataclass(frozen=True)
class Part:
    """A row of a table: what a YAML may say of the part, and what builds the part from that."""

    settings: type[Any]
    """A `Strict` model; or a dataclass, which is the part itself if `build` is left out."""
    build: Callable[[Any], Any] = _itself
    example: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a small part, for tests."""


def _memory_attention(
    settings: AttentionSettings, cross_attention: Callable[[], MemoryCrossAttention]
) -> MemoryAttention:
    layers = [
        MemoryAttentionLayer(
            CHANNELS, settings.feedforward, cross_attention(), pools_frame=settings.pools_frame
        )
        for _ in range(settings.layers)
    ]
    return MemoryAttention(layers, CHANNELS)


def _rotary(settings: AttentionSettings) -> MemoryAttention:
    return _memory_attention(settings, lambda: RotaryCrossAttention(CHANNELS, MEMORY_CHANNELS))


def _pooled(settings: PooledSettings) -> MemoryAttention:
    return _memory_attention(
        settings, lambda: PooledCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.size_term)
    )


def _latent(settings: LatentSettings) -> MemoryAttention:
    return _memory_attention(
        settings, lambda: LatentCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.window_latents)
    )


def _perceiver(settings: GlobalPerceiverSettings) -> Compressor:
    return SpatialPerceiver(
        global_latents=settings.global_latents,
        window_latents=settings.window_latents if isinstance(settings, PerceiverSettings) else 0,
        num_layers=settings.layers,
    )


_SMALL_ATTENTION = {"layers": 1, "feedforward": 64}
_SMALL_HIERA = {"embed_dim": 16, "heads": 1, "stages": [1, 1, 2, 1], "global_blocks": [3]}
_SMALL_SAM_VIT = {"channels": 16, "heads": 2, "depth": 2, "global_blocks": [1], "mlp": 32}
_SMALL_RESIDUAL = {"stem": 8, "widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}

BACKBONES = Registry(
    "backbone",
    {
        "efficientnet-lite": Part(EfficientNetLiteSettings, lambda _: EfficientNetLite()),
        "efficientvit": Part(EfficientViTSettings, EfficientViT.of),
        "fused-repvit": Part(FusedRepViTSettings, FusedRepViT.of),
        "hiera": Part(HieraSettings, Hiera, _SMALL_HIERA),
        "plain-vit": Part(PlainViTSettings, PlainViT.of, {"variant": "tiny"}),
        "repvit": Part(RepViTSettings, RepViT.of),
        "residual": Part(
            ResidualSettings, lambda settings: Residual(**settings.model_dump()), _SMALL_RESIDUAL
        ),
        "resnet": Part(ResNetSettings, lambda settings: ResNet(settings.variant, settings.mode)),
        "timm": Part(TimmSettings, TimmFeatures.of, {"model": "resnet10t"}),
        "tiny-vit": Part(TinyViTSettings, TinyViT.of),
        "sam-vit": Part(SamViTSettings, SamViT, _SMALL_SAM_VIT),
    },
)
COMPRESSORS = Registry(
    "compressor",
    {
        "global-perceiver": Part(GlobalPerceiverSettings, _perceiver, {"global_latents": 8, "layers": 1}),
        "none": Part(Strict, lambda _: None),
        "perceiver": Part(
            PerceiverSettings, _perceiver, {"global_latents": 8, "window_latents": 4, "layers": 1}
        ),
        "pooling": Part(PoolingSettings, lambda settings: MapPooling(settings.side), {"side": 2}),
    },
)
MEMORY_ATTENTIONS = Registry(
    "memory attention",
    {
        "latent": Part(LatentSettings, _latent, {**_SMALL_ATTENTION, "window_latents": 4}),
        "pooled": Part(PooledSettings, _pooled, _SMALL_ATTENTION),
        "rotary": Part(AttentionSettings, _rotary, _SMALL_ATTENTION),
    },
)
BANK_POLICIES = Registry(
    "bank policy",
    {
        "distractor-aware": Part(DistractorAware),
        "memory-tree": Part(MemoryTree),
        "motion-aware": Part(MotionAware),
        "recent-frames": Part(RecentFrames),
        "similarity-pruning": Part(SimilarityPruning),
        "steady-size": Part(SteadySize),
    },
)


def register_backbone(name: str, part: Part) -> None:
    """Make `backbone: {name: NAME, ...}` in a tracker's YAML build `part`.

    Raises:
        ConfigError: the name is taken. The other three functions raise it, too.
    """
    BACKBONES.register(name, part)


def register_compressor(name: str, part: Part) -> None:
    """The same for `compressor:`; `part` builds a `vidseg.memory.compressor.Compressor`."""
    COMPRESSORS.register(name, part)


def register_memory_attention(name: str, part: Part) -> None:
    """The same for `memory_attention:`; `part` builds something that behaves as a `MemoryAttention`."""
    MEMORY_ATTENTIONS.register(name, part)


def register_bank_policy(name: str, part: Part) -> None:
    """The same for `bank:`; `part` builds a `vidseg.memory.bank.BankPolicy`."""
    BANK_POLICIES.register(name, part)


def build_backbone(entry: Mapping[str, Any], image_size: int, where: str) -> Any:
    """The backbone that a mapping in a YAML describes, for a model whose input has this side.

    Where the backbone's settings have a field `image_size`, the side is filled in.

    Raises:
        ConfigError: see `build_part`.
    """
    part = BACKBONES.lookup(entry.get("name"), where=f"{where}, field 'backbone.name'")
    if "image_size" in getattr(part.settings, "model_fields", {}):
        entry = {"image_size": image_size, **entry}
    return build_part(BACKBONES, "backbone", entry, where)


def build_part(table: Registry[Part], kind: str, entry: Mapping[str, Any], where: str) -> Any:
    """The part that a mapping in a YAML describes.

    Args:
        kind: the key of the mapping: 'backbone', 'memory_attention', ...

    Raises:
        ConfigError: the name is not in the table, or a key or value does not fit.
    """
    part = table.lookup(entry.get("name"), where=f"{where}, field '{kind}.name'")
    rest = {key: value for key, value in entry.items() if key != "name"}
    settings = parse(part.settings, rest, where=f"{where}, in '{kind}'", error=ConfigError)
    return part.build(settings)
