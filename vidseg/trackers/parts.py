"""The parts of engine trackers by name: four tables, and the settings of each part.

A part's settings are a typed model beside the function that builds it. A plug-in adds a row:

    class MySettings(Strict): depth: int = 4
    register_backbone("mine", Part(MySettings, lambda settings: MyBackbone(settings.depth)))

and a YAML may then say `backbone: {name: mine, depth: 8}`. `vidseg.trackers.check_parts` says whether a part
keeps its promises; docs/backbones.md and its neighbours have an example of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field
from torch import nn

from vidseg.errors import ConfigError, unknown
from vidseg.memory.attention import (
    MemoryAttention,
    MemoryAttentionLayer,
    MemoryCrossAttention,
    RotaryCrossAttention,
)
from vidseg.memory.bank import BankPolicy, RecentFrames
from vidseg.memory.compressor import Compressor, MapPooling, is_square
from vidseg.registry import Registry
from vidseg.trackers.model import CHANNELS, MEMORY_CHANNELS
from vidseg.validation import Strict, parse


@dataclass(frozen=True)
class Part:
    """One row of a table: the model of the part's settings, and what builds it from them."""

    settings: type[Strict]
    build: Callable[[Any], Any]
    example: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a small one, for tests."""


class HieraSettings(Strict):
    embed_dim: int = Field(ge=1)
    heads: int = Field(ge=1)
    stages: list[int] = Field(min_length=4, max_length=4)
    global_blocks: list[int]
    windows: list[int] = Field(default=[8, 4, 14, 7], min_length=4, max_length=4)
    background_size: int = Field(default=7, ge=1)
    """Side of the learned position embedding."""


def _hiera(settings: HieraSettings) -> nn.Module:
    from vidseg.trackers.backbones.hiera import Hiera

    return Hiera(
        embed_dim=settings.embed_dim,
        heads=settings.heads,
        stages=settings.stages,
        global_blocks=settings.global_blocks,
        windows=settings.windows,
        background_hw=(settings.background_size, settings.background_size),
    )


class ResidualSettings(Strict):
    stem: int = Field(ge=8)
    widths: list[int] = Field(min_length=4, max_length=4)
    blocks: list[int] = Field(min_length=4, max_length=4)


def _residual(settings: ResidualSettings) -> nn.Module:
    from vidseg.trackers.backbones.residual import Residual

    return Residual(stem=settings.stem, widths=settings.widths, blocks=settings.blocks)


class RepViTSettings(Strict):
    variant: str = "m1"


def _repvit(settings: RepViTSettings) -> nn.Module:
    from vidseg.trackers.backbones.repvit import VARIANTS, RepViT

    _check_name("RepViT", settings.variant, VARIANTS)
    return RepViT(settings.variant)


class PlainViTSettings(Strict):
    variant: str


def _plain_vit(settings: PlainViTSettings) -> nn.Module:
    from vidseg.trackers.backbones.plain_vit import VARIANTS, PlainViT

    _check_name("plain ViT", settings.variant, VARIANTS)
    return PlainViT(settings.variant)


def _check_square(window_latents: int) -> None:
    if not is_square(window_latents):
        raise ConfigError(f"window_latents {window_latents} is not a square number")


def _check_name(kind: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ConfigError(unknown(kind, name, known))


class NoSettings(Strict):
    pass


class GlobalPerceiverSettings(Strict):
    global_latents: int = Field(default=256, ge=1)
    layers: int = Field(default=2, ge=1)


class PerceiverSettings(GlobalPerceiverSettings):
    window_latents: int = Field(default=256, ge=1)


class PoolingSettings(Strict):
    side: int = Field(default=16, ge=1)
    """Tokens a side."""


def _global_perceiver(settings: GlobalPerceiverSettings) -> Compressor:
    from vidseg.memory.perceiver import SpatialPerceiver

    return SpatialPerceiver(
        global_latents=settings.global_latents, window_latents=0, num_layers=settings.layers
    )


def _perceiver(settings: PerceiverSettings) -> Compressor:
    from vidseg.memory.perceiver import SpatialPerceiver

    _check_square(settings.window_latents)
    return SpatialPerceiver(
        global_latents=settings.global_latents,
        window_latents=settings.window_latents,
        num_layers=settings.layers,
    )


class AttentionSettings(Strict):
    layers: int = Field(default=4, ge=1)
    feedforward: int = Field(default=2048, ge=1)


class PooledSettings(AttentionSettings):
    size_term: Literal["logits", "keys"] = "logits"
    """Where the number of pooled cells counts: EfficientTAM's `/1` configurations, or its `/2` ones."""


class LatentSettings(AttentionSettings):
    window_latents: int = Field(default=256, ge=0)
    """As many as the compressor leaves."""


def _memory_attention(
    settings: AttentionSettings, cross_attention: Callable[[], MemoryCrossAttention]
) -> MemoryAttention:
    layers = [
        MemoryAttentionLayer(CHANNELS, settings.feedforward, cross_attention())
        for _ in range(settings.layers)
    ]
    return MemoryAttention(layers, CHANNELS)


def _rotary(settings: AttentionSettings) -> MemoryAttention:
    return _memory_attention(settings, lambda: RotaryCrossAttention(CHANNELS, MEMORY_CHANNELS))


def _pooled(settings: PooledSettings) -> MemoryAttention:
    from vidseg.memory.pooling import PooledCrossAttention

    return _memory_attention(
        settings, lambda: PooledCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.size_term)
    )


def _latent(settings: LatentSettings) -> MemoryAttention:
    from vidseg.memory.perceiver import LatentCrossAttention

    _check_square(settings.window_latents)
    return _memory_attention(
        settings, lambda: LatentCrossAttention(CHANNELS, MEMORY_CHANNELS, settings.window_latents)
    )


class BankSettings(Strict):
    recent_frames: int = Field(default=6, ge=1)
    max_pointers: int = Field(default=16, ge=2)
    max_conditioning: int | None = Field(default=None, ge=2)


class RecentFramesSettings(BankSettings):
    stride: int = Field(default=1, ge=1)


def _recent_frames(settings: RecentFramesSettings) -> BankPolicy:
    return RecentFrames(**settings.model_dump())


class SimilarityPruningSettings(RecentFramesSettings):
    pruned_frames: int = Field(default=2, ge=1)
    frees_pruned: bool = False


def _similarity_pruning(settings: SimilarityPruningSettings) -> BankPolicy:
    from vidseg.memory.policies.similarity_pruning import SimilarityPruning

    if settings.pruned_frames > settings.recent_frames - 1:
        raise ConfigError(
            f"pruned_frames {settings.pruned_frames} of {settings.recent_frames}: the newest frame stays",
            hint=f"at most {settings.recent_frames - 1}",
        )
    return SimilarityPruning(**settings.model_dump())


class DistractorAwareSettings(BankSettings):
    stride: int = Field(default=5, ge=1)
    max_anchors: int = Field(default=4, ge=1)
    min_anchor_iou: float = Field(default=0.8, ge=0, le=1)
    max_area_change: float = Field(default=0.2, gt=0)
    anchor_interval: int = Field(default=5, ge=0)
    max_alternative_iou: float = Field(default=0.7, ge=0, le=1)


def _distractor_aware(settings: DistractorAwareSettings) -> BankPolicy:
    from vidseg.memory.policies.distractor_aware import DistractorAware

    return DistractorAware(**settings.model_dump())


class MemoryTreeSettings(BankSettings):
    paths: int = Field(default=3, ge=1)
    min_memory_iou: float = Field(default=0.1, ge=0, le=1)
    certain_score: float = Field(default=2.0, ge=0)


def _memory_tree(settings: MemoryTreeSettings) -> BankPolicy:
    from vidseg.memory.policies.memory_tree import MemoryTree

    return MemoryTree(**settings.model_dump())


class MotionAwareSettings(BankSettings):
    motion_weight: float = Field(default=0.25, ge=0, le=1)
    warm_up: int = Field(default=15, ge=1)
    min_stable_iou: float = Field(default=0.3, ge=0, le=1)
    min_memory_iou: float = Field(default=0.5, ge=0, le=1)
    gates_motion: bool = False


def _motion_aware(settings: MotionAwareSettings) -> BankPolicy:
    from vidseg.memory.policies.motion_aware import MotionAware

    return MotionAware(**settings.model_dump())


_SMALL_ATTENTION = {"layers": 1, "feedforward": 64}
_SMALL_HIERA = {"embed_dim": 16, "heads": 1, "stages": [1, 1, 2, 1], "global_blocks": [3]}
_SMALL_RESIDUAL = {"stem": 8, "widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}

BACKBONES = Registry(
    "backbone",
    {
        "hiera": Part(HieraSettings, _hiera, _SMALL_HIERA),
        "plain-vit": Part(PlainViTSettings, _plain_vit, {"variant": "tiny"}),
        "repvit": Part(RepViTSettings, _repvit),
        "residual": Part(ResidualSettings, _residual, _SMALL_RESIDUAL),
    },
)
COMPRESSORS = Registry(
    "compressor",
    {
        "global-perceiver": Part(
            GlobalPerceiverSettings, _global_perceiver, {"global_latents": 8, "layers": 1}
        ),
        "none": Part(NoSettings, lambda _: None),
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
        "distractor-aware": Part(DistractorAwareSettings, _distractor_aware),
        "memory-tree": Part(MemoryTreeSettings, _memory_tree),
        "motion-aware": Part(MotionAwareSettings, _motion_aware),
        "recent-frames": Part(RecentFramesSettings, _recent_frames),
        "similarity-pruning": Part(SimilarityPruningSettings, _similarity_pruning),
    },
)


def register_backbone(name: str, part: Part) -> None:
    """Make `backbone: {name: NAME, ...}` in a tracker's YAML build `part`.

    Raises:
        ConfigError: the name is taken; so too for the other three.
    """
    BACKBONES.register(name, part)


def register_compressor(name: str, part: Part) -> None:
    """The same for `compressor:`; what is built is a `vidseg.memory.compressor.Compressor`."""
    COMPRESSORS.register(name, part)


def register_memory_attention(name: str, part: Part) -> None:
    """The same for `memory_attention:`; what is built is, or behaves as, a `MemoryAttention`."""
    MEMORY_ATTENTIONS.register(name, part)


def register_bank_policy(name: str, part: Part) -> None:
    """The same for `bank:`; what is built is a `vidseg.memory.bank.BankPolicy`."""
    BANK_POLICIES.register(name, part)


def build_part(table: Registry[Part], kind: str, entry: Mapping[str, Any], where: str) -> Any:
    """One part from its mapping in the YAML.

    Args:
        kind: the key of the mapping: 'backbone', 'memory_attention', ...

    Raises:
        ConfigError: the name is not in the table, or a key or value does not fit.
    """
    part = table.lookup(entry.get("name"), where=f"{where}, field '{kind}.name'")
    rest = {key: value for key, value in entry.items() if key != "name"}
    settings = parse(part.settings, rest, where=f"{where}, in '{kind}'", error=ConfigError)
    return part.build(settings)
